"""What a cluster must satisfy before the API is started on it: nothing else is served, and the replicas fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sweeps.cluster.session import Node, head, nodes
from sweeps.serving.options import APP_NAME, ServeError, ServeOptions


def prepare_cluster(ray: Any, options: ServeOptions, log: Callable[[str], None]) -> None:
    """Shuts down what Paretune serves on the cluster already, if that may be replaced.

    ``log`` is called with a message if not all replicas fit yet: a cluster may grow. Raises :class:`ServeError` if
    something else is served, if the port is in use, or if the replicas don't fit on this machine alone.
    """
    _check_not_serving(options)
    # Without a cluster, the port was checked before Ray was started.
    if options.address is not None and head_is_local(ray):
        options.check_port_is_free()
    cluster = nodes(ray)
    if (count := count_fitting(cluster, options)) >= options.replicas:
        return
    needs = f"{options.cpus} CPUs" + (f" and {options.gpus:g} GPUs" if options.gpus else "")
    has = ", ".join(
        f"{node.name} has {node.resources.get('CPU', 0):g} CPUs, {node.resources.get('GPU', 0):g} GPUs"
        for node in cluster
    )
    message = f"{count} of {options.replicas} replicas fit, each of which needs {needs}: {has}"
    if options.address is None:
        raise ServeError(message)
    log(f"{message}. Waiting for more nodes; Ctrl-C stops waiting")


def _check_not_serving(options: ServeOptions) -> None:
    from ray import serve

    status = serve.status()
    # Proxies hold the port also where no application is left, or has been started yet.
    if not status.proxies and not status.applications:
        return
    others = sorted(set(status.applications) - {APP_NAME})
    if others:
        raise ServeError(
            f"Ray Serve already serves {', '.join(others)} on the cluster, and a cluster has one Ray Serve with one "
            "host and port. Shut it down (serve.shutdown()), or serve on another cluster"
        )
    if not options.replace:
        raise ServeError(
            "`paretune serve` already runs on the cluster, or was killed there; end it with Ctrl-C where it runs, or "
            "give --replace to shut it down from here"
        )
    serve.delete(APP_NAME)
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


def count_fitting(cluster: Sequence[Node], options: ServeOptions) -> int:
    """How many replicas fit on the nodes if nothing else runs there."""
    needs = {"CPU": float(options.cpus), "GPU": options.gpus}
    return sum(
        # 1e-6: 1 GPU / 0.1 GPUs must be 10 replicas.
        min(int(node.resources.get(name, 0) / count + 1e-6) for name, count in needs.items() if count)
        for node in cluster
    )
