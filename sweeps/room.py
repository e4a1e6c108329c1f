"""How much memory a trial's worker may take: what is foretold to need more is not started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps import cluster, errands
from sweeps.amounts import parse_bytes
from trainables import machine

if TYPE_CHECKING:
    from sweeps.cluster import Node
    from sweeps.foretell import Case
    from sweeps.plan import Plan
    from sweeps.settings import ResourcesConfig

GIB = 2**30
PATIENCE_SECONDS = 60.0  # for all nodes together; a node's first worker process has to start
START_ANYWAY = "start it all the same with --force in a new run folder"


@dataclass(frozen=True)
class Room:
    """``bytes`` of each worker; ``words`` say whose word that is."""

    bytes: int
    words: str

    def refuses(self, case: Case) -> str | None:
        """Why a trial is not started; ``None`` if it fits."""
        if case.total <= self.bytes:
            return None
        return (
            f"not started: training is foretold to take {case.total / GIB:.2f} GiB, and a worker has "
            f"{self.bytes / GIB:.2f} GiB ({self.words}); `paretune plan --memory` names what would make it fit, or "
            f"{START_ANYWAY}"
        )


def stated(resources: ResourcesConfig) -> Room | None:
    """What the spec says a worker has; ``None`` where it doesn't say."""
    return Room(parse_bytes(resources.memory), "resources.memory") if resources.memory else None


def here(resources: ResourcesConfig, slots: int) -> Room | None:
    """What a worker has on this machine beside those of the other slots; ``None`` where that can't be told."""
    if resources.gpus:
        return _on_gpus(resources.gpus, machine.gpu_bytes())
    return _beside(slots * resources.workers, machine.free_bytes())


def anywhere(ray: Any, resources: ResourcesConfig, slots: int) -> Room | None:
    """What a worker has on the roomiest of a cluster's nodes: what doesn't fit there fits nowhere."""
    hosts = [node for node in cluster.nodes(ray) if could_host(node, resources)]
    answers = cluster.ask(ray, hosts, errands.memory, patience=PATIENCE_SECONDS)
    told = [answer for answer in answers if answer.failure is None]
    if resources.gpus:
        rooms = [_on_gpus(resources.gpus, answer.value["gpus"]) for answer in told]
    else:
        rooms = [
            _beside(_workers_on(answer.node, resources, slots), *answer.value["free"][:1]) for answer in told
        ]
    return max((room for room in rooms if room is not None), key=lambda room: room.bytes, default=None)


def could_host(node: Node, takes: ResourcesConfig) -> bool:
    """Whether one of a trial's workers has room on a node that does nothing else."""
    return node.resources.get("CPU", 0) >= takes.cpus and node.resources.get("GPU", 0) >= takes.gpus


def _workers_on(node: Node, resources: ResourcesConfig, slots: int) -> int:
    """How many workers a node may get at a time."""
    return int(min(node.resources["CPU"] // resources.cpus, slots * resources.workers))


def _beside(workers: int, free: int = 0) -> Room | None:
    """A worker's share of so many free bytes."""
    if not free:
        return None
    return Room(free // workers, f"{free / GIB:.2f} GiB free, {workers} {_workers(workers)} at a time")


def _on_gpus(share: float, sizes: list[int]) -> Room | None:
    if not sizes:
        return None
    own = min(1.0, share)
    part = "" if own == 1 else f", {share:g} of it for each worker"
    return Room(int(min(sizes) * own), f"a GPU of {min(sizes) / GIB:.2f} GiB{part}")


def _workers(count: int) -> str:
    return "worker" if count == 1 else "workers"


def warnings(plan: Plan, room: Room) -> list[str]:
    """A line for each cell of which some trials, or all, will not be started."""
    found = []
    for cell in plan.cells:
        told = cell.predicted
        if told is None or told.most.total <= room.bytes:
            continue
        which = "no trial fits" if told.least.total > room.bytes else "not every trial fits"
        peak = f"{told.least.total / GIB:.2f} to {told.most.total / GIB:.2f} GiB foretold"
        found.append(
            f"{cell.name}: {which} ({peak}; a worker has {room.bytes / GIB:.2f}: {room.words}). Those that don't are "
            "rows of the report and are not started; --force starts them"
        )
    return found
