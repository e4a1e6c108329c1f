"""Which trials of different size fit on a cluster's machines side by side. No Ray here: machines and sizes are given.

>>> fits([Machine("a", cpus=4, gpus=1)], [Size(1, 1, 0.5), Size(1, 1, 0.5)])
True
>>> fits([Machine("a", cpus=4, gpus=1)], [Size(1, 1, 0.5), Size(1, 1, 1)])
False
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trainables.system.byte_sizes import gib

NEAR = 1e-6  # three thirds of a GPU are one


@dataclass(frozen=True)
class Size:
    """What a trial holds while it runs: ``workers``, each with these resources; ``memory`` in bytes, 0 for unknown."""

    workers: int
    cpus: float
    gpus: float = 0.0
    memory: int = 0

    def __str__(self) -> str:
        gpus = f", {self.gpus:.3g} GPUs" if self.gpus else ""
        memory = f", {gib(self.memory, '.3g')}" if self.memory else ""
        return f"{self.workers} x ({self.cpus:g} CPUs{gpus}{memory})"

    def bundle(self) -> dict[str, float]:
        """A worker's resources, as Ray names them."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory)}
        return {name: amount for name, amount in amounts.items() if amount}


@dataclass(frozen=True)
class Machine:
    """A node and what trials may use of it; ``memory``, ``gpu_bytes`` (of its smallest GPU) and
    ``compute_capability`` (of its oldest) if they are known.
    """

    id: str
    cpus: float
    gpus: float = 0.0
    memory: int | None = None
    gpu_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        memory = f", {gib(self.memory, '.1f')}" if self.memory is not None else ""
        return f"{self.cpus:g} CPUs{gpus}{memory}"


class _Free:
    """What is free on a machine."""

    def __init__(self, machine: Machine) -> None:
        self.cpus, self.memory = machine.cpus, machine.memory
        self.gpus = [1.0] * int(machine.gpus)  # the free share of each

    def take(self, size: Size) -> bool:
        """Takes what a worker needs; whether there is that much."""
        gpus = self._choose_gpus(size.gpus)
        enough = self.cpus >= size.cpus - NEAR and (self.memory is None or self.memory >= size.memory)
        if gpus is None or not enough:
            return False
        self.cpus -= size.cpus
        self.memory = None if self.memory is None else self.memory - size.memory
        for index in gpus:
            # A worker with several GPUs has all of each; one with a share has it of a single GPU.
            self.gpus[index] -= min(1.0, size.gpus)
        return True

    def lacks(self, size: Size) -> list[str]:
        """Which resources of a worker are not there, with what it needs and what is free."""
        lacking = []
        if self.memory is not None and self.memory < size.memory:
            lacking.append(f"memory: needs {gib(size.memory, '.3g')}, free {gib(self.memory, '.3g')}")
        if self.cpus < size.cpus - NEAR:
            lacking.append(f"cores: needs {size.cpus:g}, free {max(0.0, self.cpus):g}")
        if self._choose_gpus(size.gpus) is None:
            lacking.append(f"GPUs: needs {size.gpus:.3g}, free {sum(self.gpus):.3g}")
        return lacking

    def _choose_gpus(self, share: float) -> list[int] | None:
        """The indices of the GPUs that a worker gets: whole ones, or for a share the fullest that still has it."""
        count = 0 if share == 0 else max(1, round(share))
        # The GPU with the least that suffices comes first, so that shares leave whole GPUs free.
        suitable = sorted(
            (free, index) for index, free in enumerate(self.gpus) if free >= min(1.0, share) - NEAR
        )
        return [index for _, index in suitable[:count]] if len(suitable) >= count else None


def fits(machines: Iterable[Machine], sizes: Sequence[Size]) -> bool:
    """Whether trials of all these sizes fit at the same time: first fit, the largest first, worker by worker."""
    free = [_Free(machine) for machine in machines]
    # Largest first, because small workers fit into what is left. First fit may miss a way to place them all,
    # but never finds one that doesn't exist.
    workers = [size for size in sorted(sizes, key=_largest_first) for _ in range(size.workers)]
    return all(any(machine.take(size) for machine in free) for size in workers)


def lacking(machines: Sequence[Machine], held: Iterable[Size], size: Size) -> str:
    """What a trial of one size waits for beside those that hold their resources; empty if nothing is lacking.

    >>> lacking([Machine("a", cpus=4)], [Size(1, 3)], Size(1, 2))
    'cores: needs 2, free 1'
    """
    if not machines:
        return "a machine: none is up"
    free = [_Free(machine) for machine in machines]
    for held_size in sorted(held, key=_largest_first):
        for _ in range(held_size.workers):
            any(machine.take(held_size) for machine in free)
    if all(any(machine.take(size) for machine in free) for _ in range(size.workers)):
        return ""
    # Of the machine that lacks least: the others are further from what is needed.
    least: list[str] = min((machine.lacks(size) for machine in free), key=len)
    return " and ".join(least)


def _largest_first(size: Size) -> tuple[float, float, float]:
    return -size.gpus, -size.cpus, -size.memory


def how_many(machines: Sequence[Machine], size: Size, limit: int) -> int:
    """How many trials of one size fit at the same time, counted up to ``limit``."""
    count = 0
    while count < limit and fits(machines, [size] * (count + 1)):
        count += 1
    return count
