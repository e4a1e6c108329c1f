"""How much each trial takes of a cluster: what the spec says, and by its predicted peak where it leaves that open.

A trial that fits in a part of a GPU takes a half, a third, ... of one; one that is too large for any is shared by as
many workers as it needs, if the spec lets it. Main memory is reserved by the predicted peak, too, so that small and
large trials share a machine without one of them ending the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING

from sweeps.cluster.packing import Machine, Size, how_many
from sweeps.cluster.session import DRIVERS
from sweeps.planning.memory.cell_memory import SAFETY_FACTOR, with_fewest_workers
from sweeps.spec.byte_sizes import parse_bytes
from sweeps.spec.settings import MAX_GPU_SHARES
from trainables.system.byte_sizes import GIB, gib

if TYPE_CHECKING:
    from sweeps.planning.cell import Cell
    from sweeps.planning.memory.cell_memory import ConfigMemory
    from sweeps.planning.plan import Plan
    from sweeps.spec.settings import ResourcesConfig
    from trainables.trial.config import TrialConfig

# Beside the predicted peak, which counts from a process's own baseline: the worker's and that of the measuring process.
PROCESS_BYTES = 3 * GIB // 2
CONTEXT_BYTES = GIB // 2  # that CUDA takes of a GPU for each process
STEPS = tuple(int(GIB * 2**power * part) for power in range(14) for part in (1, 1.5))


@dataclass(frozen=True)
class TooLarge:
    """Why a trial is not started: ``bytes`` is the most that a worker can have, ``words`` say whose word that is."""

    needed: int
    bytes: int
    words: str

    def __str__(self) -> str:
        return (
            f"not started: training is predicted to take {gib(self.needed)}, and a worker has "
            f"{gib(self.bytes)} ({self.words}); `paretune plan --memory` names what would make it fit, or "
            "start it all the same with --force in a new run folder"
        )


@dataclass(frozen=True)
class Limit:
    """The most that a worker can have; ``words`` say whose word that is."""

    bytes: int
    words: str


@dataclass(frozen=True)
class Sizes:
    """``machines`` as they were at the start; with ``force`` nothing is too large.

    ``uniform``: bytes of main memory that every trial takes, where there is as much for all of them. A slot then serves
    trials of any cell, and isn't made anew for the next one's size.
    """

    machines: tuple[Machine, ...]
    force: bool = False
    uniform: int | None = None

    @classmethod
    def of_plan(cls, plan: Plan, machines: Iterable[Machine], at_once: int = 1, force: bool = False) -> Sizes:
        """The sizes of a plan's trials, of which so many are to run at a time."""
        found = cls(tuple(machines), force)
        on_cpus = [found.most(cell) for cell in plan.cells if not cell.resources.gpus]
        largest = max((size.memory for size in on_cpus), default=0)
        alike = [replace(size, memory=largest) for size in on_cpus]
        bare = [replace(size, memory=0) for size in on_cpus]

        def count(size: Size) -> int:
            return how_many(found.machines, size, at_once)

        enough = all(count(one) >= count(other) for one, other in zip(alike, bare, strict=True))
        return replace(found, uniform=largest) if enough else found

    def refuses(self, cell: Cell, config: TrialConfig) -> TooLarge | None:
        """Why a trial is not started; ``None`` where it fits, and where nobody can tell."""
        if self.force or cell.predicted is None:
            return None
        case, limit = self._shared(cell, cell.predicted.for_config(config)), self.limit(cell.resources)
        return (
            None
            if limit is None or case.peak_bytes <= limit.bytes
            else TooLarge(case.peak_bytes, *astuple(limit))
        )

    def of(self, cell: Cell, config: TrialConfig) -> Size:
        """What a trial takes."""
        return self._size(cell, cell.predicted.for_config(config) if cell.predicted is not None else None)

    def least(self, cell: Cell) -> Size:
        """What the smallest trial of a cell takes."""
        return self._size(cell, cell.predicted.smallest if cell.predicted is not None else None)

    def most(self, cell: Cell) -> Size:
        """What the largest trial of a cell takes."""
        return self._size(cell, cell.predicted.largest if cell.predicted is not None else None)

    def limit(self, takes: ResourcesConfig) -> Limit | None:
        """What one of a trial's workers may take; ``None`` where that can't be told."""
        if takes.memory is not None:
            return Limit(parse_bytes(takes.memory), "resources.memory")
        return self._of_a_gpu(takes.gpus) if takes.gpus else self._of_a_machine()

    def _of_a_gpu(self, gpus: float | str) -> Limit | None:
        """Of the smallest one: it may land on any."""
        sizes = [machine.gpu_bytes for machine in self.machines if machine.gpu_bytes]
        if not sizes:
            return None
        own = 1.0 if gpus == "auto" else min(1.0, float(gpus))
        part = "" if own == 1 else f", {own:g} of it for each worker"
        return Limit(int(min(sizes) * own), f"a GPU of {gib(min(sizes))}{part}")

    def _of_a_machine(self) -> Limit | None:
        """Of the roomiest one: Ray knows how much a trial takes, and finds it."""
        largest = self._largest()
        if not largest:
            return None
        return Limit(
            max(0, largest - PROCESS_BYTES),
            f"of the {gib(largest)} of a machine, {PROCESS_BYTES / GIB:g} are for the processes themselves",
        )

    def _largest(self) -> int:
        return max((machine.memory or 0 for machine in self.machines), default=0)

    def _size(self, cell: Cell, case: ConfigMemory | None) -> Size:
        takes = cell.resources
        if case is None:
            gpus = 1.0 if takes.gpus == "auto" else takes.gpus
            return Size(takes.min_workers, takes.cpus, gpus, 0 if gpus else self.uniform or 0)
        shared = self._shared(cell, case)
        gpus = self._share(shared.peak_bytes) if takes.gpus == "auto" else takes.gpus
        return Size(shared.workers, takes.cpus, gpus, 0 if gpus else self._memory(shared.peak_bytes))

    def _memory(self, predicted: int) -> int:
        """Main memory to reserve, in a few sizes only: each size has slots of its own. Never more than there is."""
        if self.uniform is not None:
            return self.uniform
        wanted = int(predicted * SAFETY_FACTOR) + PROCESS_BYTES
        rounded = next((step for step in STEPS if step >= wanted), wanted)
        return min(rounded, self._largest())

    def _share(self, predicted: int) -> float:
        """The smallest share of a GPU in which so much fits; a whole one if nobody knows how large they are."""
        sizes = [machine.gpu_bytes for machine in self.machines if machine.gpu_bytes]
        wanted = predicted * SAFETY_FACTOR + CONTEXT_BYTES
        return 1 / max(1, min(MAX_GPU_SHARES, int(min(sizes, default=0) // wanted)))

    def _shared(self, cell: Cell, case: ConfigMemory) -> ConfigMemory:
        """The case with as few workers as make it fit for each of them, where the spec leaves that open."""
        limit = self.limit(cell.resources)
        if cell.resources.workers != "auto" or limit is None:
            return case
        return with_fewest_workers(case, limit.bytes)


def slots(plan: Plan, machines: Sequence[Machine]) -> int:
    """How many trials run at a time: what the spec asks for, but no more than fit on the machines; at least one.

    Memory apart, for a trial that doesn't fit is not started or waits.
    """
    limit = min(plan.spec.resources.concurrent or DRIVERS, DRIVERS)
    unplaced = Sizes(())
    sizes = dict.fromkeys(replace(unplaced.least(cell), memory=0) for cell in plan.cells)
    return max(1, max((how_many(machines, size, limit) for size in sizes), default=1))


def warnings(plan: Plan, sizes: Sizes) -> list[str]:
    """A line for each cell of which some trials, or all, will not be started."""
    found = []
    for cell in plan.cells:
        told, limit = cell.predicted, sizes.limit(cell.resources)
        if told is None or limit is None or sizes.refuses(cell, told.largest.config) is None:
            continue
        which = "no trial fits" if sizes.refuses(cell, told.smallest.config) else "not every trial fits"
        peak = f"{told.smallest.peak_bytes / GIB:.2f} to {gib(told.largest.peak_bytes)} predicted"
        found.append(
            f"{cell.name}: {which} ({peak}; a worker has {limit.bytes / GIB:.2f}: {limit.words}). Those that don't are "
            "rows of the report and are not started; --force starts them"
        )
    return found
