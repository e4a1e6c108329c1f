"""How many trials run at a time, and how many cores a worker takes, where the spec leaves that out.

As many trials as fit: by their predicted memory, by the GPUs, and with a core for each worker. The cores are then
divided among them. Cells of one sweep get the same, so that their times can be compared.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sweeps.cluster.packing import Machine, Size, fits, how_many
from sweeps.cluster.session import DRIVERS
from sweeps.planning.cell import Cell
from sweeps.planning.dependencies import levels
from sweeps.planning.resources.place import Place
from sweeps.planning.resources.sizes import Sizes
from sweeps.spec.settings import STARTUP, ResourcesConfig
from trainables.system.byte_sizes import gib
from trainables.system.wording import counted

BEGUN = "as this run began with that"


@dataclass(frozen=True)
class DefaultTrials:
    """``concurrent``: trials at a time, ``None`` where only the nodes that are up limit them. ``cpus``: of a worker.

    ``most_cpus``: what a worker can have where a run is resumed on a smaller machine. ``notes``: what the plan says of
    the choice.
    """

    concurrent: int | None
    cpus: float
    notes: tuple[str, ...] = ()
    most_cpus: float = math.inf

    def of_sweep(self, resources: ResourcesConfig) -> ResourcesConfig:
        """The spec's resources with what it leaves out."""
        open_settings = {"concurrent": self.concurrent, "cpus": self.cpus}
        return resources.model_copy(update=_left_out(resources, open_settings))

    def of_cell(self, cell: Cell) -> Cell:
        """A cell whose workers take these cores, unless the spec says itself how many."""
        resources = self.of_sweep(cell.resources)
        if "cpus" not in cell.resources.model_fields_set:
            resources = resources.model_copy(update={"cpus": min(self.cpus, self.most_cpus)})
        return replace(cell, resources=resources)


def choose(cells: Sequence[Cell], resources: ResourcesConfig, place: Place) -> DefaultTrials:
    """For the cells of a sweep whose spec has these resources; the machines are asked for only if something is open."""
    if place.begun is not None:
        return _as_begun(cells, resources, place)
    wants_cpus = [cell for cell in cells if "cpus" not in cell.resources.model_fields_set]
    wants_limit = "concurrent" not in resources.model_fields_set and not place.is_cluster
    if not cells or not (wants_cpus or wants_limit):
        return DefaultTrials(resources.concurrent, resources.cpus)
    found = _at_once(cells, place, resources.concurrent)
    concurrent, cpus, notes = resources.concurrent, resources.cpus, []
    if not found.fits:
        what = f"no trial fits on {place.name} ({found.size} for one of {found.of.name})"
        return DefaultTrials(concurrent, cpus, (f"{what}, so a worker takes {_cores_text(cpus)} elsewhere",))
    if wants_limit:
        concurrent = found.trials
        notes.append(
            f"resources.concurrent is not given: {_run_at_a_time(found.trials)}, {found.reason(place.name)}"
        )
    if wants_cpus:
        cpus, reason = _cores(wants_cpus, place, found)
        notes.append(f"resources.cpus is not given: a worker takes {_cores_text(cpus)}, as {reason}")
    if not place.is_cluster:
        notes[-1] += ". --resume keeps what a run began with; with --address, the cluster's nodes decide"
    return DefaultTrials(concurrent, cpus, tuple(notes))


def _as_begun(cells: Sequence[Cell], resources: ResourcesConfig, place: Place) -> DefaultTrials:
    """What the run began with. A worker takes fewer cores only where no machine has as many."""
    begun = place.begun
    assert begun is not None
    given, notes = resources.model_fields_set, []
    concurrent = resources.concurrent if "concurrent" in given else begun.concurrent
    if "concurrent" not in given and begun.concurrent is not None:
        notes.append(f"resources.concurrent is not given: {_run_at_a_time(begun.concurrent)}, {BEGUN}")
    most = math.inf
    if any("cpus" not in cell.resources.model_fields_set for cell in cells):
        notes.append(f"resources.cpus is not given: a worker takes {_cores_text(begun.cpus)}, {BEGUN}")
        # A cluster's nodes come and go: one that is large enough may still come.
        if begun.cpus > 1 and not place.is_cluster:
            most = max((machine.cpus for machine in place.machines), default=math.inf)
        if begun.cpus > most:
            notes[-1] += (
                f"; {place.name} has {most:g}, which are all taken: last digits of results may differ"
            )
    return DefaultTrials(concurrent, begun.cpus, tuple(notes), most)


@dataclass(frozen=True)
class _AtOnce:
    """How many trials run at a time; ``fits`` of them fit by what the cell ``of`` needs, and ``most`` are of use."""

    trials: int
    fits: int
    most: int
    of: Cell
    size: Size
    machines: tuple[Machine, ...]
    steered: bool

    def reason(self, place: str) -> str:
        """In words, why it is not more."""
        if self.fits >= self.most:
            steered = f", of a cell at most {STARTUP}, so that results can steer the others"
            return f"as the plan has no more that could{steered if self.steered else ''}"
        if self._more(memory=0):
            free = gib(sum(machine.memory or 0 for machine in self.machines), ".1f")
            needed = gib(self.size.memory * self.size.workers, ".3g")
            return f"as many as fit in the {free} that are free ({needed} for one of {self.of.name})"
        if self._more(gpus=0.0):
            return f"as many as fit on the GPUs of {place} ({self.size} for one of {self.of.name})"
        cores = counted(int(sum(machine.cpus for machine in self.machines)), "core")
        if self.size.workers * self.size.cpus == 1:
            return f"as {place} has {cores}"
        return f"as {place} has {cores} ({self.size} for one of {self.of.name})"

    def _more(self, **free: float) -> bool:
        """Whether more would fit if a trial took none of one thing."""
        smaller = replace(self.size, **free)  # type: ignore[arg-type]
        return how_many(self.machines, smaller, self.fits + 1) > self.fits


def _at_once(cells: Sequence[Cell], place: Place, given: int | None) -> _AtOnce:
    machines = place.machines
    sizes = Sizes(machines)
    steered = any(map(_is_steered, cells))
    most = min(DRIVERS, _useful(cells))
    found = []
    for cell in cells:
        size = sizes.largest(_with_least_cores(cell))
        found.append((how_many(machines, size, most), cell, size))
    # A cell that fits nowhere is not started, or waits: it limits no other.
    count, cell, size = min((each for each in found if each[0]), key=lambda each: each[0], default=found[0])
    trials = max(1, min(count, given or count))
    return _AtOnce(trials, count, most, cell, size, machines, steered)


def _with_least_cores(cell: Cell) -> Cell:
    """The cell with one core for a worker, unless the spec gives a number."""
    if "cpus" in cell.resources.model_fields_set:
        return cell
    return replace(cell, resources=cell.resources.model_copy(update={"cpus": 1}))


def _useful(cells: Sequence[Cell]) -> int:
    """How many trials there are to run at a time: cells that wait for others don't run beside them.

    Of a cell whose search is steered by results, no more than come before that: all at once would be a random search.
    """
    side_by_side: Counter[int] = Counter()
    level = levels({cell.name: cell.depends_on for cell in cells})
    for cell in cells:
        side_by_side[level[cell.name]] += min(cell.trials, STARTUP) if _is_steered(cell) else cell.trials
    return max(side_by_side.values(), default=1)


def _is_steered(cell: Cell) -> bool:
    return cell.search.steers_from is not None and cell.trials > STARTUP


def _cores(cells: Sequence[Cell], place: Place, found: _AtOnce) -> tuple[int, str]:
    """The cores of a worker, the same in all cells, and the reason in words."""
    sizes = Sizes(place.machines)
    one_worker = [replace(sizes.smallest(_with_least_cores(cell)), workers=1, memory=0) for cell in cells]
    hosts = [machine for machine in place.machines if any(fits([machine], [size]) for size in one_worker)]
    workers = max(sizes.largest(cell).workers for cell in cells)
    # Machines that differ share the trials alike, and the smallest one decides.
    on_each = math.ceil(found.trials * workers / len(hosts))
    least = min(int(machine.cpus) for machine in hosts)
    has = f"{place.name} has" if len(hosts) == 1 else f"the smallest of {len(hosts)} nodes has"
    shared = f"{counted(found.trials, 'trial')} at a time" if len(hosts) == 1 else "its part of the trials"
    each = f" of {workers} workers" if workers > 1 else ""
    return max(1, least // on_each), f"{has} {counted(least, 'core')} for {shared}{each}"


def _run_at_a_time(count: int) -> str:
    return f"{counted(count, 'trial')} {'runs' if count == 1 else 'run'} at a time"


def _cores_text(count: float) -> str:
    return f"{count:g} core{'' if count == 1 else 's'}"


def _left_out(resources: ResourcesConfig, settings: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in settings.items() if key not in resources.model_fields_set}
