"""Tells Ray that this machine will be taken down, so that its trials save themselves and continue elsewhere.

Run beside the Ray of a worker node, it waits until the cloud announces the machine's end, or the system ends this
process (SIGTERM), and drains the node. It ends when the node does, and prints little:

    python -P -m sweeps.cluster.drain [--node-id ID] [--seconds N]
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

POLL_SECONDS = 5.0  # between questions to the clouds
RETRY_SECONDS = 1.0  # between attempts to reach the head
PROC = Path("/proc")
NOTICE_SECONDS = 30.0  # between the SIGTERM of a system that shuts down and its end


@dataclass(frozen=True)
class Raylet:
    """A Ray node on this machine: its id, the address of its cluster, and the folder of its session."""

    node_id: str
    cluster: str
    session: str


def raylets(proc: Path = PROC, heads: bool = False) -> set[Raylet]:
    """This user's worker nodes on this machine, from the command lines of their processes.

    ``heads``: head nodes too. Those are not drained, because their whole cluster ends with them.
    """
    nodes = set()
    for _, command in _commands(proc):
        options = dict(word.split("=", 1) for word in command if word.startswith("--") and "=" in word)
        if command[0].endswith("/raylet") and (heads or "--head" not in command):
            nodes.add(Raylet(options["--node_id"], options["--gcs-address"], options["--session_dir"]))
    return nodes


def _commands(proc: Path) -> Iterator[tuple[int, list[str]]]:
    """The ids and command lines of this user's processes."""
    for folder in proc.glob("[0-9]*"):
        try:
            if folder.stat().st_uid == os.getuid():
                command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                yield int(folder.name), command
        except OSError:  # the process has ended meanwhile
            continue


def watch(nodes: set[Raylet], notices: Notices, seconds: float) -> None:
    """Drains the nodes when this machine will be taken down; returns once they are gone, for whatever reason.

    SIGTERM must be blocked, because it is waited for; it announces the end in ``seconds``.
    """
    ending, undrained = _wait_for_ending(nodes, notices, seconds), nodes
    while ending is not None and (alive := nodes & raylets()):
        # Nodes that are drained already are only waited for; the others are tried again.
        undrained = {node for node in undrained & alive if not _try_drain(node, *ending)}
        time.sleep(RETRY_SECONDS)
    # A session that other nodes on this machine still use keeps its log monitor.
    for session in {node.session for node in nodes} - {node.session for node in raylets(heads=True)}:
        _end_log_monitor(session)


def _end_log_monitor(session: str) -> None:
    """Ends the log monitor of a session whose nodes here are gone; Ray leaves it running, after ``ray down`` too."""
    for process, command in _commands(PROC):
        if f"--session-dir={session}" in command and any(
            word.endswith("/log_monitor.py") for word in command
        ):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)


def _wait_for_ending(nodes: set[Raylet], notices: Notices, seconds: float) -> tuple[float, str] | None:
    """When this machine will be taken down, in seconds since 1970, and why; ``None`` when its nodes ended before."""
    while nodes & raylets():
        # Waiting and pausing in one: a SIGTERM ends the pause at once.
        if signal.sigtimedwait({signal.SIGTERM}, POLL_SECONDS):
            return time.time() + seconds, "the machine shuts down"
        if (ending := notices.ending()) is not None:
            return ending, "the cloud takes the machine back"
    return None


def _try_drain(node: Raylet, ending: float, why: str) -> bool:
    """Whether the node is being drained now; says so, or why not."""
    name = f"{node.node_id} of {node.cluster}"
    try:
        drain(node, ending, why)
    except (RuntimeError, OSError) as error:
        print(f"{name} can't be drained: {error}", flush=True)
        return False
    print(f"{name} is drained, {ending - time.time():.0f} s before its end: {why}", flush=True)
    return True


def drain(node: Raylet, ending: float, why: str) -> None:
    """Does what ``ray drain-node`` does. Raises ``RuntimeError`` if the head can't be reached or refuses."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # type: ignore[attr-defined]
    from ray.exceptions import RayError

    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    try:
        head = GcsClient(address=node.cluster)
        # Ray takes the deadline in ms since 1970.
        accepted, answer = head.drain_node(node.node_id, reason, why, int(ending * 1000))
    except RayError as error:
        raise RuntimeError(str(error)) from error
    if not accepted:
        raise RuntimeError(answer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Watches this user's worker nodes on this machine."""
    # First of all, so that a SIGTERM that comes while nodes are looked for doesn't end this process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.cluster.drain",
        description="Drains a Ray worker node when its machine will be taken down.",
    )
    parser.add_argument(
        "--node-id", help="the node to drain; by default all worker nodes of this user on this machine"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=NOTICE_SECONDS,
        help="seconds between SIGTERM and the end of the machine (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    nodes = {node for node in raylets() if options.node_id in (None, node.node_id)}
    if not nodes:
        sys.exit("no Ray worker node of this user runs on this machine; start one with `ray start` first")
    watch(nodes, Notices(clouds()), options.seconds)


if __name__ == "__main__":
    main()
