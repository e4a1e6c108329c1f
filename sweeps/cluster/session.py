"""A Ray session: joining a cluster or starting Ray on this machine, and asking nodes something within a bounded time.

The functions that nodes run travel by value, because Paretune may be missing there. A node that doesn't answer is an
answer too.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from sweeps.cluster import local_ray
from sweeps.cluster.private_folder import private_folder
from sweeps.cluster.remote_tasks import first_line
from sweeps.spec.problems import Problem, SpecError
from trainables.system import allocator, quiet
from trainables.system.redaction import RedactedFile
from trainables.system.signals import handlers_restored

CONNECT_SECONDS = 5.0  # Ray itself tries an address where nobody listens for over a minute
HEAD = "node:__internal_head__"  # a resource that Ray gives to the head and to no other node
SLOTS = "trial_driver"  # slots' actors take none of a node's CPUs, so a resource of their own decides where they run
DRIVERS = 64  # units of that resource that a node is started with
START = f"ray start ... --resources='{{\"{SLOTS}\": {DRIVERS}}}'"
ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # otherwise every line is printed twice
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "3600",  # a node that went may take a while to be replaced
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process less per slot; a lost worker is replaced anyway
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # our records are the log
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has no objective
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: trials save themselves first
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    # Ray would kill whatever started last, hubs and controllers too; the system kills what uses the most memory.
    "RAY_memory_monitor_refresh_ms": "0",
    # Ray's 15 leaves trials what other processes of the machine don't take, which on a busy machine is next to nothing.
    "RAY_worker_niceness": "0",
    "RAY_worker_maximum_startup_concurrency": "16",  # a slot is five processes; none of them should wait for another
}


@dataclass(frozen=True)
class Node:
    """A machine of the cluster; ``name`` is unique: ``gpu-2 (10.0.0.7)``."""

    id: str
    host: str
    ip: str
    name: str
    resources: Mapping[str, float] = field(hash=False)

    @property
    def slots(self) -> int:
        """How many slots' actors the node may run, by the resources it was started with."""
        return int(self.resources.get(SLOTS, 0))


@dataclass(frozen=True)
class Answer:
    """What a node answered, or why it did not."""

    node: Node
    value: Any = None
    failure: str | None = None


@contextmanager
def session(
    log: TextIO | RedactedFile, address: str | None = None, worker_output: bool = False, **local_options: Any
) -> Iterator[Any]:
    """Ray, joined at ``address`` or started on this machine (with ``num_cpus=...``).

    Its own messages go to ``log``, with ``worker_output`` also what the session's processes print.

    Raises ``SpecError`` where there is no cluster to join.
    """
    # Before Ray is imported, which reads some of these then; what the user has set stays.
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    allocator.set_default()  # for the workers of a Ray that is started here
    quiet.silence()
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    _keep_messages(log)
    with private_folder() as folder:
        # Ray exits by itself on SIGTERM, or takes it for a crash; our handler saves the trials first.
        with handlers_restored([signal.SIGTERM]), _working_in(folder):
            if address is not None:
                _join(address, worker_output)
            else:
                local_ray.start(folder, {**local_options, "log_to_driver": worker_output})
        for name in ("ray", "ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # Ray's reports of processes that died are for the log; our records say which trials failed.
        logging.getLogger("ray").handlers = [logging.StreamHandler(log)]
        try:
            yield ray
        finally:
            ray.shutdown()
            logging.getLogger("ray").handlers = []


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Makes ``folder`` the working folder within the block.

    Ray puts its driver's working folder first on the path of all workers, and the processes that it starts work there:
    a ``torch.py`` beside a user's data would be imported in place of the package.
    """
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def answers_anyone(ray: Any) -> bool:
    """Whether the joined cluster answers a client without a token; then it also runs anybody's code."""
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    messages: Any = gcs_service_pb2  # its classes are made at import, so mypy knows none
    with grpc.insecure_channel(ray.get_runtime_context().gcs_address) as channel:
        cluster = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            cluster.GetAllNodeInfo(messages.GetAllNodeInfoRequest(), timeout=CONNECT_SECONDS)
        except grpc.RpcError:
            return False
    return True


def _join(address: str, worker_output: bool) -> None:
    import ray

    try:
        _require_listener(address)
        ray.init(address=address, log_to_driver=worker_output, logging_level=logging.ERROR)
    # No cluster, a wrong token, another version of Ray or Python than the cluster's, or no valid address.
    except (OSError, RuntimeError, ValueError) as error:
        advice = "Is it running, is this machine one of its nodes, and are RAY_AUTH_MODE and RAY_AUTH_TOKEN its own?"
        what = f"can't join the cluster {address}: {first_line(error)}. {advice}"
        raise SpecError(Problem("--address", "", what)) from error


def _require_listener(address: str) -> None:
    """Raises ``OSError`` where nobody listens at ``address``, so that Ray doesn't try for over a minute."""
    from ray._private.services import canonicalize_bootstrap_address

    if "://" in address:
        return
    endpoint = canonicalize_bootstrap_address(address)
    if endpoint is None:
        raise ValueError("it names no cluster; leave --address out to run on this machine alone")
    host, _, port = endpoint.rpartition(":")
    # An address of IPv6 is in brackets, which a socket doesn't take.
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _keep_messages(log: TextIO | RedactedFile) -> None:
    """Writes the cluster's messages to its driver ("8 worker processes have been started") to ``log``, and what Ray
    passes on of the output of processes.

    Ray prints them to standard output whatever ``log_to_driver`` is, and has no option for it.
    """
    from ray._private import worker

    def keep(data: dict[str, Any], *args: Any, **options: Any) -> None:
        # Ray's own thread calls this, perhaps after the session and its log have ended.
        # The autoscaler's process prints its status every 5 seconds.
        if not log.closed and data["pid"] != "autoscaler":
            for line in data["lines"]:
                log.write(f"ray: {line}\n")
            log.flush()

    worker.print_to_stdstream = keep


def nodes(ray: Any) -> list[Node]:
    """The nodes that are up, by name."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    # Several Ray nodes on one machine have the same host and address; a part of their id tells them apart.
    names = Counter(_name(node) for node in alive)
    described = [
        Node(
            id=node["NodeID"],
            host=node["NodeManagerHostname"],
            ip=node["NodeManagerAddress"],
            name=_name(node, tell_apart=names[_name(node)] > 1),
            resources=dict(node["Resources"]),
        )
        for node in alive
    ]
    return sorted(described, key=lambda node: node.name)


def head(ray: Any) -> Node | None:
    """The cluster's head node; ``None`` for a cluster whose head is down."""
    return next((node for node in nodes(ray) if HEAD in node.resources), None)


def _name(node: Mapping[str, Any], tell_apart: bool = False) -> str:
    extra = f", {node['NodeID'][:6]}" if tell_apart else ""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}{extra})"


def ask(
    ray: Any, nodes: Sequence[Node], question: Callable[..., Any], *arguments: Any, patience: float
) -> list[Answer]:
    """Calls ``question(node_id, *arguments)`` on each node and returns what it gives there, or why it gave nothing.

    All nodes together have ``patience`` seconds. The call needs none of a node's CPUs, so a busy cluster answers too.
    The module of ``question`` travels by value, so it may import nothing but the standard library at its top.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.cloudpickle.register_pickle_by_value(sys.modules[question.__module__])
    # Bound to its node and never retried: a node that went away has to become a failure in time.
    task = ray.remote(num_cpus=0, max_retries=0)(question)
    waiting = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            node.id, *arguments
        )
        for node in nodes
    ]
    _, late = ray.wait(waiting, num_returns=len(waiting), timeout=patience) if waiting else ([], [])
    for answer in late:
        # By force, because a question that hangs would keep its worker process for good.
        ray.cancel(answer, force=True)
    return [
        Answer(node, failure=f"no answer within {patience:.0f} s")
        if answer in late
        else _received(ray, node, answer)
        for node, answer in zip(nodes, waiting, strict=True)
    ]


def _received(ray: Any, node: Node, answer: Any) -> Answer:
    try:
        return Answer(node, ray.get(answer))
    except ray.exceptions.RayError as error:  # what failed there, or that the node went away
        # The text of Ray's error begins with its own stack trace; what the function raised is its cause.
        return Answer(node, failure=first_line(getattr(error, "cause", None) or error))
