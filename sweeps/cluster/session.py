"""A Ray cluster: joining it, and asking each of its nodes the same thing within a bounded time.

What is asked goes to a node by value, for Paretune may be missing there; that no answer comes is an answer too.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TextIO

from sweeps.cluster.remote_tasks import first_line
from sweeps.spec.problems import Problem, SpecError
from trainables.system import quiet
from trainables.system.redaction import Log

CONNECT_SECONDS = 5.0  # Ray itself tries an address where nobody is for over a minute
HEAD = "node:__internal_head__"  # a resource that Ray gives to the head and to no other node
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
def session(log: TextIO | Log, address: str | None = None, **own: Any) -> Iterator[Any]:
    """Ray, joined at ``address`` or started on this machine (``num_cpus=...``); its own noise goes to ``log``.

    Raises ``SpecError`` where there is no cluster to join.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    quiet.silence()
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    _keep_messages(log)
    with _handler_kept():
        if address is not None:
            _join(address)
        else:
            _start(own)
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Ray's own reports of what died are for the log; that a trial failed is for our records to say.
    logging.getLogger("ray").handlers = [logging.StreamHandler(log)]
    try:
        yield ray
    finally:
        ray.shutdown()
        logging.getLogger("ray").handlers = []


@contextmanager
def _handler_kept() -> Iterator[None]:
    """Has being told to end (SIGTERM) mean what it meant before: Ray exits by itself, or takes it for a crash."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _start(own: Mapping[str, Any]) -> None:
    """Starts Ray for this machine alone: it listens on the loopback interface, and to who has a token of its own."""
    import ray
    from ray._private import ray_constants

    # Made for this run; else Ray writes one to the home folder, for every user to read.
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    # Where nothing is said, Ray asks for the token. A shell may say otherwise, of another cluster.
    os.environ.pop("RAY_AUTH_MODE", None)
    # Without other nodes to be reached by, a node's address is 127.0.0.1, and Ray's servers keep to it.
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    # Not what RAY_ADDRESS or a file in the temporary folder, which anybody may write, says is running here.
    with _groups_of_their_own():
        ray.init(
            address="local", **own, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )


@contextmanager
def _groups_of_their_own() -> Iterator[None]:
    """Has what Ray starts meanwhile be no part of this process's group, and end with this process all the same.

    A terminal, ``timeout`` and job schedulers tell whole groups to end. This process then has its trials save
    themselves, for which Ray still has to be there.
    """
    from ray._private import services as module
    from ray._private import utils

    services: Any = module  # mypy takes no other class for the one it starts a process by
    start = services.ConsolePopen
    # Where the system doesn't, Ray ends by their group those that a dead process left.
    if utils.detect_fate_sharing_support():
        services.ConsolePopen = partial(start, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = start


def answers_anyone(ray: Any) -> bool:
    """Whether the cluster that was joined tells of itself to one who shows no token: then it also runs code for him."""
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    messages: Any = gcs_service_pb2  # made while it is imported, so mypy finds nothing in it
    with grpc.insecure_channel(ray.get_runtime_context().gcs_address) as channel:
        cluster = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            cluster.GetAllNodeInfo(messages.GetAllNodeInfoRequest(), timeout=CONNECT_SECONDS)
        except grpc.RpcError:
            return False
    return True


def _join(address: str) -> None:
    import ray

    try:
        _call(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    # No cluster there, or another's token; another Ray or Python than the cluster's; no address at all.
    except (OSError, RuntimeError, ValueError) as error:
        advice = "Is it running, is this machine one of its nodes, and are RAY_AUTH_MODE and RAY_AUTH_TOKEN its own?"
        what = f"can't join the cluster {address}: {first_line(error)}. {advice}"
        raise SpecError(Problem("--address", "", what)) from error


def _call(address: str) -> None:
    """Raises ``OSError`` where nobody listens, so that Ray need not try for as long as it would."""
    from ray._private.services import canonicalize_bootstrap_address

    if "://" in address:
        return
    found = canonicalize_bootstrap_address(address)
    if found is None:
        raise ValueError("it names no cluster: leave --address out to run on this machine alone")
    host, _, port = found.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _keep_messages(log: TextIO | Log) -> None:
    """Has the cluster's messages to its driver, "8 worker processes have been started", written to ``log``.

    Ray prints them on standard output, whatever ``log_to_driver`` says, and has no option for it.
    """
    from ray._private import worker

    def keep(data: dict[str, Any], *args: Any, **options: Any) -> None:
        if not log.closed:
            for line in data["lines"]:
                log.write(f"ray: {line}\n")
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


def head(ray: Any) -> Node | None:
    """The cluster's head node; ``None`` for a cluster whose head is down."""
    return next((node for node in nodes(ray) if HEAD in node.resources), None)


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
        return Answer(node, failure=first_line(getattr(error, "cause", None) or error))
