"""A Ray cluster: joining it, and asking each of its nodes the same thing within a bounded time.

What is asked goes to a node by value, for Paretune may be missing there; that no answer comes is an answer too.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from sweeps.problems import Problem, SpecError
from trainables import noise

CONNECT_SECONDS = 5.0  # Ray itself tries an address where nobody is for over a minute
SLOTS = "trial_driver"  # slots' actors take none of a node's CPUs but need a resource of their own to be placed by
DRIVERS = 64  # of which a node is given so many
START = f"ray start ... --resources='{{\"{SLOTS}\": {DRIVERS}}}'"
ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # else every print comes twice
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "3600",  # a node that went may take a while to be replaced
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process less per slot; a lost worker is made again anyway
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our records are the log
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has no objective
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: trials save themselves first
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    # Ray would end whatever began last, hubs and controllers too; the system ends what takes the most.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_maximum_startup_concurrency": "16",  # a slot is five processes; none of them should queue
}


@dataclass(frozen=True)
class Node:
    """A machine of the cluster; ``name`` tells it from the others: ``gpu-2 (10.0.0.7)``."""

    id: str
    host: str
    ip: str
    name: str
    resources: Mapping[str, float] = field(hash=False)

    @property
    def slots(self) -> int:
        """How many slots' actors it was started with room for."""
        return int(self.resources.get(SLOTS, 0))


@dataclass(frozen=True)
class Answer:
    """What a node answered, or why there is no answer."""

    node: Node
    value: Any = None
    failure: str | None = None


@contextmanager
def session(log: TextIO, **where: Any) -> Iterator[Any]:
    """Ray, joined (``address=...``) or started on this machine (``num_cpus=...``); its own noise goes to ``log``.

    Raises ``SpecError`` where there is no cluster to join.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    noise.silence()
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    _keep_messages(log)
    if "address" in where:
        _join(where["address"])
    else:
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Ray's own reports of what died are for the log; that a trial failed is for our records to say.
    logging.getLogger("ray").handlers = [logging.StreamHandler(log)]
    try:
        yield ray
    finally:
        ray.shutdown()
        logging.getLogger("ray").handlers = []


def _join(address: str) -> None:
    import ray

    try:
        _call(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    # No cluster there, or another's token; another Ray or Python than the cluster's; no address at all.
    except (OSError, RuntimeError, ValueError) as error:
        advice = "Is it running, is this machine one of its nodes, and are RAY_AUTH_MODE and RAY_AUTH_TOKEN its own?"
        what = f"can't join the cluster {address}: {_first_line(error)}. {advice}"
        raise SpecError(Problem("--address", "", what)) from error


def _call(address: str) -> None:
    """Raises ``OSError`` where nobody listens, so that Ray need not try for as long as it would."""
    from ray._private.services import canonicalize_bootstrap_address

    found = None if "://" in address else canonicalize_bootstrap_address(address)
    if found is not None:
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _keep_messages(log: TextIO) -> None:
    """Has the cluster's messages to its driver, "8 worker processes have been started", written to ``log``.

    Ray prints them on standard output, whatever ``log_to_driver`` says, and has no option for it.
    """
    from ray._private import worker

    def keep(data: dict[str, Any], *args: Any, **options: Any) -> None:
        if not log.closed:
            log.writelines(f"ray: {line}\n" for line in data["lines"])
            log.flush()

    worker.print_to_stdstream = keep


def nodes(ray: Any) -> list[Node]:
    """The nodes that are up, by name."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    names = Counter(_name(node) for node in alive)
    found = [
        Node(
            id=node["NodeID"],
            host=node["NodeManagerHostname"],
            ip=node["NodeManagerAddress"],
            name=_name(node, tell_apart=names[_name(node)] > 1),
            resources=dict(node["Resources"]),
        )
        for node in alive
    ]
    return sorted(found, key=lambda node: node.name)


def _name(node: Mapping[str, Any], tell_apart: bool = False) -> str:
    extra = f", {node['NodeID'][:6]}" if tell_apart else ""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}{extra})"


def ask(
    ray: Any, asked: Sequence[Node], question: Callable[..., Any], *arguments: Any, patience: float
) -> list[Answer]:
    """What ``question(node_id, *arguments)`` gives on each node, within ``patience`` seconds for all of them.

    It takes none of a node's CPUs, so a busy cluster answers as well. The module of ``question`` must do with the
    standard library, for it travels by value.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.cloudpickle.register_pickle_by_value(sys.modules[question.__module__])
    task = ray.remote(num_cpus=0, max_retries=0)(question)
    waiting = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            node.id, *arguments
        )
        for node in asked
    ]
    _, late = ray.wait(waiting, num_returns=len(waiting), timeout=patience) if waiting else ([], [])
    for answer in late:
        ray.cancel(answer, force=True)
    return [
        Answer(node, failure=f"no answer within {patience:.0f} s")
        if answer in late
        else _received(ray, node, answer)
        for node, answer in zip(asked, waiting, strict=True)
    ]


def _received(ray: Any, node: Node, answer: Any) -> Answer:
    try:
        return Answer(node, ray.get(answer))
    except ray.exceptions.RayError as error:  # what failed there, or that the node went away
        return Answer(node, failure=_first_line(getattr(error, "cause", None) or error))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
