"""Tells Ray that this machine is about to go: its trials save themselves and go on elsewhere.

Run beside a worker node's Ray, it waits until the cloud announces the machine's end, or the system ends this process
(SIGTERM), and has the node drained. It ends when the node does, and what it has to say is little:

    python -m sweeps.cluster.drain [--node-id ID] [--seconds N]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sweeps.cluster.cloud_notices import Notices, clouds

LOOK_SECONDS = 5.0
AGAIN_SECONDS = 1.0  # between attempts at telling a head that can't be reached
PROC = Path("/proc")
NOTICE_SECONDS = 30.0  # that are left when the system ends its processes, if nobody says


@dataclass(frozen=True)
class Raylet:
    """A Ray node on this machine, the address of its cluster, and the folder of its session."""

    node_id: str
    cluster: str
    session: str


def raylets(proc: Path = PROC, heads: bool = False) -> set[Raylet]:
    """This user's worker nodes here, as their processes say; ``heads``: heads too, with which a cluster goes."""
    found = set()
    for _, words in _commands(proc):
        options = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if words[0].endswith("/raylet") and (heads or "--head" not in words):
            found.add(Raylet(options["--node_id"], options["--gcs-address"], options["--session_dir"]))
    return found


def _commands(proc: Path) -> Iterator[tuple[int, list[str]]]:
    """This user's processes, by id, and how they were started."""
    for folder in proc.glob("[0-9]*"):
        try:
            if folder.stat().st_uid == os.getuid():
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                yield int(folder.name), words
        except OSError:  # it ended meanwhile
            continue


def watch(nodes: set[Raylet], notices: Notices, seconds: float) -> None:
    """Until the nodes are gone, whether or not they were told to go. SIGTERM must be blocked, for it is waited for."""
    told, untold = _told(nodes, notices, seconds), nodes
    while told is not None and (here := nodes & raylets()):
        untold = {node for node in untold & here if not _leaves(node, *told)}
        time.sleep(AGAIN_SECONDS)
    for session in {node.session for node in nodes} - {node.session for node in raylets(heads=True)}:
        _clear(session)


def _clear(session: str) -> None:
    """Ends what follows the logs of a session that has no node here any more; Ray leaves it, after ``ray down`` too."""
    for process, words in _commands(PROC):
        if f"--session-dir={session}" in words and any(word.endswith("/log_monitor.py") for word in words):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)


def _told(nodes: set[Raylet], notices: Notices, seconds: float) -> tuple[float, str] | None:
    """When this machine goes, in seconds since 1970, and why; ``None`` when its nodes went before."""
    while nodes & raylets():
        if signal.sigtimedwait({signal.SIGTERM}, LOOK_SECONDS):
            return time.time() + seconds, "the machine ends its processes"
        if (ending := notices.look()) is not None:
            return ending, "the cloud takes the machine back"
    return None


def _leaves(node: Raylet, ending: float, why: str) -> bool:
    """Whether the node is being drained now."""
    who = f"{node.node_id} of {node.cluster}"
    try:
        drain(node, ending, why)
    except (RuntimeError, OSError) as error:
        print(f"{who} can't be drained: {error}", flush=True)
        return False
    print(f"{who} goes in {ending - time.time():.0f} s: {why}", flush=True)
    return True


def drain(node: Raylet, ending: float, why: str) -> None:
    """What ``ray drain-node`` does. Raises ``RuntimeError`` if the head can't be reached or won't have it."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # type: ignore[attr-defined]
    from ray.exceptions import RayError

    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    try:
        head = GcsClient(address=node.cluster)
        accepted, answer = head.drain_node(node.node_id, reason, why, int(ending * 1000))
    except RayError as error:
        raise RuntimeError(str(error)) from error
    if not accepted:
        raise RuntimeError(answer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Watches over the nodes that are here now."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.cluster.drain", description="Drains this node when it has to go."
    )
    parser.add_argument("--node-id", help="only this node; all of this user's on this machine by default")
    parser.add_argument("--seconds", type=float, default=NOTICE_SECONDS, help="that are left after SIGTERM")
    options = parser.parse_args(arguments)
    nodes = {node for node in raylets() if options.node_id in (None, node.node_id)}
    if not nodes:
        sys.exit("no worker node of Ray runs here as this user; first `ray start`")
    watch(nodes, Notices(clouds()), options.seconds)


if __name__ == "__main__":
    main()
