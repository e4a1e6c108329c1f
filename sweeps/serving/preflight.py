"""What must hold of a cluster before the API is started there: nothing else serves, and the replicas have room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sweeps.cluster.session import Node, head, nodes
from sweeps.serving.options import NAME, ServeError, ServeOptions


def prepare_cluster(ray: Any, where: ServeOptions, say: Callable[[str], None]) -> None:
    """Ends what is served there by Paretune if it may be replaced; raises :class:`NotServed` for what is in the way.

    Where there is no room yet for all replicas it says so, for a cluster may grow; a machine alone doesn't.
    """
    _refuse_served(where)
    # Of a machine alone that was asked before Ray was started.
    if where.address is not None and head_is_local(ray):
        where.check_port_is_free()
    there = nodes(ray)
    if (count := count_fitting(there, where)) >= where.replicas:
        return
    each = f"{where.cpus} CPUs" + (f" and {where.gpus:g} GPUs" if where.gpus else "")
    said = f"there is room for {count} of {where.replicas} replicas, each with {each}: {', '.join(map(_has, there))}"
    if where.address is None:
        raise ServeError(said)
    say(f"{said}. Waiting for more; Ctrl-C ends this")


def _refuse_served(where: ServeOptions) -> None:
    from ray import serve

    found = serve.status()
    if not found.proxies and not found.applications:
        return
    others = sorted(set(found.applications) - {NAME})
    if others:
        raise ServeError(
            f"Ray Serve runs on the cluster already, with {', '.join(others)}; a cluster has one Ray Serve, with one "
            "host and port. End it (serve.shutdown()), or serve elsewhere"
        )
    if not where.replace:
        raise ServeError(
            "`paretune serve` runs on the cluster already, or was killed there; end it with Ctrl-C where it runs, or "
            "give --replace to end it from here"
        )
    serve.delete(NAME)
    serve.shutdown()


def head_is_local(ray: Any) -> bool:
    """Whether the cluster's head, where the API listens, is this process's node."""
    return bool(ray.get_runtime_context().get_node_id() == _head(ray).id)


def head_address(ray: Any) -> str:
    """The IP address of the cluster's head."""
    return _head(ray).ip


def _head(ray: Any) -> Node:
    node = head(ray)
    assert node is not None  # a cluster that was joined has one
    return node


def count_fitting(there: Sequence[Node], where: ServeOptions) -> int:
    """How many replicas the nodes hold if nothing else runs there."""
    return sum(_fit(node, where) for node in there)


def _fit(node: Node, where: ServeOptions) -> int:
    wanted = {"CPU": float(where.cpus), "GPU": where.gpus}
    return min(int(node.resources.get(name, 0) / count + 1e-6) for name, count in wanted.items() if count)


def _has(node: Node) -> str:
    return f"{node.name} has {node.resources.get('CPU', 0):g} CPUs, {node.resources.get('GPU', 0):g} GPUs"
