"""The resources of a cluster's nodes for trials: as Ray counts them, and the memory of GPUs as the nodes report it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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

    Each node with GPUs is asked once about them.
    """

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self._gpus: dict[str, _Gpus] = {}

    def available(self) -> list[Machine]:
        """These nodes with their resources, as they are now."""
        draining = self.draining()
        nodes = [node for node in session.nodes(self.ray) if node.id not in draining]
        self._ask_about_gpus(nodes)
        return [
            Machine(
                id=node.id,
                cpus=node.resources.get("CPU", 0),
                gpus=node.resources.get("GPU", 0),
                memory=int(node.resources["memory"]) if "memory" in node.resources else None,
                gpu_bytes=self._gpus.get(node.id, _Gpus()).smallest,
                compute_capability=self._gpus.get(node.id, _Gpus()).oldest,
            )
            for node in nodes
        ]

    def draining(self) -> dict[str, int]:
        """The nodes that are being drained, by id, with the time of their end in ms since 1970, or 0."""
        return dict(self.ray._private.state.state.get_draining_nodes())

    def _ask_about_gpus(self, nodes: list[Node]) -> None:
        new = [node for node in nodes if node.resources.get("GPU") and node.id not in self._gpus]
        for answer in (
            session.ask(self.ray, new, remote_tasks.gpu_facts, patience=PATIENCE_SECONDS) if new else ()
        ):
            # The smallest and the oldest GPU count, because Ray may choose any. What is unknown is kept too, so that a
            # node that doesn't answer is not asked again and again.
            self._gpus[answer.node.id] = _Gpus.of(*(answer.value or ([], [])))


@dataclass(frozen=True)
class _Gpus:
    """Of one node: the memory of its smallest GPU in bytes and the compute capability of its oldest, if known."""

    smallest: int | None = None
    oldest: tuple[int, int] | None = None

    @classmethod
    def of(cls, sizes: Iterable[int], capabilities: Iterable[tuple[int, int]]) -> _Gpus:
        return cls(min(sizes, default=None), min(capabilities, default=None))


def this_machine() -> Machine:
    """This machine, with the memory that is free now less :data:`RESERVED_BYTES`."""
    sizes = machine.gpu_memory_bytes()
    gpus = _Gpus.of(sizes, machine.gpu_capabilities() if sizes else ())
    free = machine.available_memory_bytes()
    memory = max(0, free - RESERVED_BYTES) if free else None
    return Machine("here", os.cpu_count() or 1, len(sizes), memory, gpus.smallest, gpus.oldest)


def hosts(nodes: Iterable[Node], requests: Sequence[ResourcesConfig]) -> list[Node]:
    """The nodes on which a worker of at least one of these requests could run."""
    return [node for node in nodes if any(could_host(node, resources) for resources in requests)]


def could_host(node: Node, resources: ResourcesConfig) -> bool:
    """Whether a node that runs nothing else has the CPUs and GPUs for one worker of a trial."""
    total = node.resources
    return total.get("CPU", 0) >= resources.cpus and total.get("GPU", 0) >= resources.min_gpus
