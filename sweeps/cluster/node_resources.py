"""The resources of a cluster's nodes for trials: as Ray counts them, and the memory of GPUs as the nodes report it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sweeps.cluster import remote_tasks, session
from sweeps.cluster.packing import Machine
from trainables.system import machine

if TYPE_CHECKING:
    from sweeps.cluster.session import Node
    from sweeps.spec.settings import ResourcesConfig

PATIENCE_SECONDS = 60.0  # for all nodes together; a node's first worker process has to start
RESERVED_BYTES = 2**30  # of this machine's free memory, kept for Ray and the driver


class Machines:
    """The nodes that trials may be placed on: all that are up, except those that will be taken down.

    Each node with GPUs is asked once how much memory these have.
    """

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self._gpu_bytes: dict[str, int | None] = {}

    def available(self) -> list[Machine]:
        """These nodes with their resources, as they are now."""
        draining = self.draining()
        nodes = [node for node in session.nodes(self.ray) if node.id not in draining]
        self._ask_for_gpu_bytes(nodes)
        return [
            Machine(
                id=node.id,
                cpus=node.resources.get("CPU", 0),
                gpus=node.resources.get("GPU", 0),
                memory=int(node.resources["memory"]) if "memory" in node.resources else None,
                gpu_bytes=self._gpu_bytes.get(node.id),
            )
            for node in nodes
        ]

    def draining(self) -> dict[str, int]:
        """The nodes that are being drained, by id, with the time of their end in ms since 1970, or 0."""
        return dict(self.ray._private.state.state.get_draining_nodes())

    def _ask_for_gpu_bytes(self, nodes: list[Node]) -> None:
        new = [node for node in nodes if node.resources.get("GPU") and node.id not in self._gpu_bytes]
        for answer in (
            session.ask(self.ray, new, remote_tasks.gpu_bytes, patience=PATIENCE_SECONDS) if new else ()
        ):
            # The smallest GPU counts, because Ray may choose any. `None` is kept too, so that a node that
            # doesn't answer is not asked again and again.
            self._gpu_bytes[answer.node.id] = min(answer.value or [], default=None)


def this_machine() -> Machine:
    """This machine, with the memory that is free now less :data:`RESERVED_BYTES`."""
    gpus = machine.gpu_memory_bytes()
    free = machine.available_memory_bytes()
    memory = max(0, free - RESERVED_BYTES) if free else None
    return Machine("here", os.cpu_count() or 1, len(gpus), memory, min(gpus, default=None))


def hosts(nodes: Iterable[Node], requests: Sequence[ResourcesConfig]) -> list[Node]:
    """The nodes on which a worker of at least one of these requests could run."""
    return [node for node in nodes if any(could_host(node, resources) for resources in requests)]


def could_host(node: Node, resources: ResourcesConfig) -> bool:
    """Whether a node that runs nothing else has the CPUs and GPUs for one worker of a trial."""
    total = node.resources
    return total.get("CPU", 0) >= resources.cpus and total.get("GPU", 0) >= resources.min_gpus
