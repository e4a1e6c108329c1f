"""The resources that each trial needs: by the spec, or by its predicted peak memory where the spec leaves them open.

A trial that fits in a part of a GPU gets a half, a third, ... of one. One that is too large for any GPU is shared by as
many workers as it needs, if the spec allows that. Main memory is reserved by the predicted peak too, so that small and
large trials share a machine and none of them takes the memory of another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweeps.cluster.packing import Machine, Size, how_many
from sweeps.planning.memory.cell_memory import SAFETY_FACTOR, with_fewest_workers
from sweeps.spec.byte_sizes import parse_bytes
from sweeps.spec.settings import MAX_GPU_SHARES
from trainables.memory.gpu_share import CONTEXT_BYTES, allocator_limit
from trainables.system.byte_sizes import GIB, gib

if TYPE_CHECKING:
    from sweeps.planning.cell import Cell
    from sweeps.planning.memory.cell_memory import ConfigMemory
    from sweeps.spec.settings import ResourcesConfig
    from trainables.trial.config import TrialConfig

# Beside the predicted peak, which counts from a process's baseline: the baselines of the worker and of the measuring
# process.
PROCESS_BYTES = 3 * GIB // 2
# Main memory is reserved in these amounts: 1, 1.5, 2, 3, 4, 6, ... GiB.
RESERVATIONS = tuple(int(GIB * 2**power * part) for power in range(14) for part in (1, 1.5))


@dataclass(frozen=True)
class TooLarge:
    """Why a trial is not started: it needs ``needed`` bytes, and a worker can have ``bytes``, by ``source``."""

    needed: int
    bytes: int
    source: str

    def __str__(self) -> str:
        return (
            f"not started: training is predicted to need {gib(self.needed)}, and a worker has "
            f"{gib(self.bytes)} ({self.source}); `paretune plan --memory` shows what would make it fit, or "
            "start it anyway with --force in a new run folder"
        )


@dataclass(frozen=True)
class Limit:
    """The most bytes that a worker can have; ``source`` says, for messages, where that number comes from."""

    bytes: int
    source: str


@dataclass(frozen=True)
class Sizes:
    """The sizes of trials on ``machines``, as they were at the start; with ``force`` no trial is too large.

    ``uniform``: bytes of main memory that are reserved for every trial alike, where there is enough for that. A slot
    then runs trials of any cell, instead of being replaced for a trial of another size.
    """

    machines: tuple[Machine, ...]
    force: bool = False
    uniform: int | None = None

    @classmethod
    def for_cells(
        cls, cells: Iterable[Cell], machines: Iterable[Machine], at_once: int = 1, force: bool = False
    ) -> Sizes:
        """The sizes of the trials of a plan's cells, ``at_once`` of which run at a time."""
        sizes = cls(tuple(machines), force)
        # `uniform` is still unset here, so each cell's reservation is its own.
        on_cpus = [sizes.largest(cell) for cell in cells if not cell.resources.gpus]
        most_memory = max((size.memory for size in on_cpus), default=0)
        alike = [replace(size, memory=most_memory) for size in on_cpus]
        without_memory = [replace(size, memory=0) for size in on_cpus]

        def count(size: Size) -> int:
            return how_many(sizes.machines, size, at_once)

        # Enough memory means: as many trials fit with the largest one's memory as fit if memory didn't matter.
        enough = all(count(one) >= count(other) for one, other in zip(alike, without_memory, strict=True))
        return replace(sizes, uniform=most_memory) if enough else sizes

    def excess(self, cell: Cell, config: TrialConfig) -> TooLarge | None:
        """Why a trial is not started; ``None`` if it fits, or if its peak or the limit is unknown."""
        if self.force or cell.predicted is None:
            return None
        memory, limit = self._shared(cell, cell.predicted.for_config(config)), self.limit(cell.resources)
        if limit is None or memory.peak_bytes <= limit.bytes:
            return None
        return TooLarge(memory.peak_bytes, limit.bytes, limit.source)

    def for_trial(self, cell: Cell, config: TrialConfig) -> Size:
        """What a trial needs."""
        return self._size(cell, cell.predicted.for_config(config) if cell.predicted is not None else None)

    def smallest(self, cell: Cell) -> Size:
        """What the smallest trial of a cell needs."""
        return self._size(cell, cell.predicted.smallest if cell.predicted is not None else None)

    def largest(self, cell: Cell) -> Size:
        """What the largest trial of a cell needs."""
        return self._size(cell, cell.predicted.largest if cell.predicted is not None else None)

    def limit(self, resources: ResourcesConfig) -> Limit | None:
        """The memory that one worker of a trial may use; ``None`` where that is unknown."""
        if resources.memory is not None:
            return Limit(parse_bytes(resources.memory), "resources.memory")
        return self._gpu_limit(resources.gpus) if resources.gpus else self._machine_limit()

    def _gpu_limit(self, gpus: float | str) -> Limit | None:
        """That of the smallest GPU, as the trial may be placed on any; of a share, what its worker may allocate."""
        sizes = [machine.gpu_bytes for machine in self.machines if machine.gpu_bytes]
        if not sizes:
            return None
        share = 1.0 if gpus == "auto" else float(gpus)
        shared = allocator_limit(min(sizes), share)
        if shared is None:
            return Limit(min(sizes), f"a GPU of {gib(min(sizes))}")
        part = f"{share:g} of it for each worker, {gib(CONTEXT_BYTES)} of that for CUDA itself"
        return Limit(shared, f"a GPU of {gib(min(sizes))}, {part}")

    def _machine_limit(self) -> Limit | None:
        """That of the machine with the most memory: Ray knows how much a trial needs, and places it there."""
        largest = self._largest_memory()
        if not largest:
            return None
        return Limit(
            max(0, largest - PROCESS_BYTES),
            f"of the {gib(largest)} of a machine, {PROCESS_BYTES / GIB:g} are for the processes themselves",
        )

    def _largest_memory(self) -> int:
        return max((machine.memory or 0 for machine in self.machines), default=0)

    def _size(self, cell: Cell, memory: ConfigMemory | None) -> Size:
        resources = cell.resources
        if memory is None:
            gpus = 1.0 if resources.gpus == "auto" else resources.gpus
            return Size(resources.min_workers, resources.cpus, gpus, 0 if gpus else self.uniform or 0)
        # On GPUs no main memory is reserved: the predicted peak is one of GPU memory.
        shared = self._shared(cell, memory)
        # The workers of one trial can't share a GPU.
        share = self._gpu_share(shared.peak_bytes) if shared.workers == 1 else 1.0
        gpus = share if resources.gpus == "auto" else resources.gpus
        return Size(shared.workers, resources.cpus, gpus, 0 if gpus else self._reservation(shared.peak_bytes))

    def _reservation(self, predicted: int) -> int:
        """Main memory to reserve, in a few amounts only, because each has slots of its own; at most what there is."""
        if self.uniform is not None:
            return self.uniform
        wanted = int(predicted * SAFETY_FACTOR) + PROCESS_BYTES
        rounded = next((amount for amount in RESERVATIONS if amount >= wanted), wanted)
        return min(rounded, self._largest_memory())

    def _gpu_share(self, predicted: int) -> float:
        """The smallest share of a GPU in which ``predicted`` bytes fit; a whole one if the GPUs' sizes are unknown."""
        sizes = [machine.gpu_bytes for machine in self.machines if machine.gpu_bytes]
        # A peak beyond the smallest GPU takes a whole one; whether the trial may start, `excess` decides.
        wanted = predicted * SAFETY_FACTOR + CONTEXT_BYTES
        return 1 / max(1, min(MAX_GPU_SHARES, int(min(sizes, default=0) // wanted)))

    def _shared(self, cell: Cell, memory: ConfigMemory) -> ConfigMemory:
        """The memory of each worker with as few workers as make it fit, where the spec leaves their number open."""
        limit = self.limit(cell.resources)
        if cell.resources.workers != "auto" or limit is None:
            return memory
        return with_fewest_workers(memory, limit.bytes)
