"""The plan of a sweep: every cell with its budget, the base models to score, and all problems.

>>> make(read("methods")).cells[0].name  # doctest: +SKIP
'sft-full'
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sweeps.planning import identity, rungs, yardsticks
from sweeps.planning.bases import base_config, base_configs
from sweeps.planning.cell import Cell
from sweeps.planning.checks import (
    amounts,
    dependencies,
    fairness,
    held_out,
    kept_weights,
    own_methods,
    own_rewards,
    samplers,
    seeds,
    tracking,
    without_effect,
)
from sweeps.planning.checks.cell import CheckedDraft, check_draft
from sweeps.planning.checks.requirements import Requirement
from sweeps.planning.checks.search_notes import ending_notes, search_notes
from sweeps.planning.claims import margins as claim_margins
from sweeps.planning.claims import names as claim_names
from sweeps.planning.claims import obstacles as claim_obstacles
from sweeps.planning.conventions import CURRENT, Conventions
from sweeps.planning.earlier_searches import EarlierSearches, with_earlier_searches
from sweeps.planning.filters import select_drafts
from sweeps.planning.grid import make_drafts
from sweeps.planning.inputs import InputFinder
from sweeps.planning.links import with_dependencies
from sweeps.planning.memory import calibration
from sweeps.planning.memory.cell_memory import ConfigMemory, with_fewest_workers
from sweeps.planning.memory.fit import Fit, assess_fit
from sweeps.planning.resources import default_gpus, default_precision, default_trials
from sweeps.planning.resources.place import Place, this_machine
from sweeps.planning.times.prediction import PlanTime, predict_times
from sweeps.runs.earlier_results import EarlierResults
from sweeps.runs.layout import Settled
from sweeps.spec.byte_sizes import parse_bytes
from sweeps.spec.problems import Problem, unique
from sweeps.spec.settings import ResourcesConfig
from sweeps.spec.spec import Spec
from sweeps.spec.tree import node_at
from trainables.storage import files
from trainables.trial.config import TrialConfig

__all__ = ["Cell", "Plan", "base_config", "make"]

CHOSEN = ("gpus", "cpus", "concurrent")  # resources that a plan chooses where the spec leaves them out


@dataclass(frozen=True)
class Plan:
    """What a run of ``spec`` does. With errors it must not start; ``cells`` holds those without errors.

    ``spec.resources`` has what was chosen where the spec itself leaves it out.
    """

    spec: Spec
    cells: tuple[Cell, ...]
    bases: tuple[TrialConfig, ...]  # the untrained models to score
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    selected: tuple[str, ...] = ()  # the cells that the filters match; the others are their dependencies
    requirements: tuple[Requirement, ...] = ()  # of the machines that its trials run on
    settled: Settled = field(default_factory=dict)  # which trials of earlier runs it starts from
    date: str | None = None  # of the run's first start, for chat templates that write today's
    conventions: Conventions = CURRENT
    precision: str = default_precision.USUAL  # of trials on GPUs where the spec gives none

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.error)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if not problem.error)

    @property
    def trials(self) -> int:
        """The number of search trials in all cells; the base models are not counted."""
        return sum(cell.trials for cell in self.cells)

    @property
    def finalists(self) -> int:
        """The number of trials that train the cells' best configs again, if each cell has finished ones."""
        settings = self.spec.finalists
        per_config = settings.per_cell // settings.top
        return sum(per_config * min(settings.top, cell.trials) for cell in self.cells if cell.holds_out)

    @property
    def first_configs(self) -> list[TrialConfig]:
        """A config of each cell: together they name all models and data."""
        return [cell.first() for cell in self.cells]

    def cell(self, name: str) -> Cell:
        return next(cell for cell in self.cells if cell.name == name)

    def resolved(self) -> dict[str, Any]:
        """The spec with defaults and overrides applied, for ``resolved.yaml``."""
        resolved = self.spec.resolved()
        given = self.spec.source.tree.get("resources", {})
        chosen = {key: getattr(self.spec.resources, key) for key in CHOSEN if key not in given}
        known = {key: value for key, value in chosen.items() if value is not None}
        resolved = {**resolved, "resources": {**resolved["resources"], **known}}
        return default_precision.fill(resolved, self.spec.source.tree, self.precision)

    def fingerprint(self) -> str:
        """A hash of everything in the spec that decides what a trial is: a resumed run must have the same."""
        return files.sha256(identity.identity(self.resolved()))

    @property
    def memory_limit(self) -> int | None:
        """The bytes that a worker may use by the spec; ``None`` where it sets no limit."""
        memory = self.spec.resources.memory
        return parse_bytes(memory) if memory else None

    @property
    def resources(self) -> tuple[ResourcesConfig, ...]:
        """The different resources that trials take."""
        return tuple({cell.resources: None for cell in self.cells}) or (self.spec.resources,)

    def fits(self, capacity: int | None) -> list[Fit]:
        """For each cell with predicted memory, whether its largest peak fits in ``capacity`` bytes."""
        if capacity is None:
            return []
        return [
            assess_fit(cell.name, largest_peak(cell, capacity), capacity)
            for cell in self.cells
            if cell.predicted
        ]

    def times(self) -> PlanTime:
        """How long its trials take, as far as trials like them have run on this machine."""
        again = self.spec.finalists
        at_once = self.spec.resources.concurrent or 1
        return predict_times(self.cells, self.bases, at_once, again.per_cell // again.top, again.top)


def make(
    spec: Spec,
    *,
    stage: str | None = None,
    method: str | None = None,
    fetch: bool = False,
    local: bool = True,
    earlier: EarlierResults | None = None,
    place: Place | None = None,
    date: str | None = None,
    conventions: Conventions = CURRENT,
    one_trial: bool = False,
) -> Plan:
    """Plans a spec, or the cells of it that the filters ``stage`` and ``method`` match.

    With ``fetch`` a named model that is not on this machine is downloaded; without, that is a warning. With ``local``
    trials will run on this machine, whose features are checked. ``earlier`` finds results of other runs. ``place``:
    where trials run (by default this machine), for what the spec leaves out of its resources. ``date``: of the run's
    first start, today's if none is given. ``conventions``: those that the run began with. ``one_trial``: one trial of
    the plan will run, so nothing is compared.

    Raises ``SpecError`` for a spec that is too large to check.
    """
    earlier = earlier or EarlierResults()
    drafts, draft_problems = make_drafts(spec, earlier)
    amounts.refuse_too_many_probes(spec, drafts)
    selected, filter_problems = select_drafts(drafts, stage, method)
    date = date or today()
    finder = InputFinder(fetch, date, conventions)
    place = place or this_machine()
    chosen = None if default_gpus.is_given(spec.resources) else default_gpus.of(place)
    if chosen is not None:
        spec = replace(spec, resources=chosen.fill(spec.resources))
    # Dependencies are checked and run even where the filters leave them out.
    planned = with_dependencies(selected, drafts)
    precision = default_precision.choose(planned, spec.resources, place)
    checked = [check_draft(draft, spec.resources, finder, local, precision) for draft in planned]
    alike = yardsticks.with_one_cutoff(checked, conventions)
    # The studies of a run that has begun keep what they began with.
    searches = with_earlier_searches(alike) if place.begun is None else EarlierSearches(tuple(alike))
    checked = list(searches.checked)
    cells = tuple(each.cell for each in checked if each.cell is not None)
    trials = default_trials.choose(cells, spec.resources, place)
    cells, spec = (
        tuple(map(trials.of_cell, cells)),
        replace(spec, resources=trials.of_sweep(spec.resources)),
    )
    return Plan(
        spec=spec,
        cells=cells,
        bases=tuple(base_configs(cells)),
        problems=unique(
            [
                *spec.problems,
                *draft_problems,
                *filter_problems,
                *(problem for each in checked for problem in each.problems),
                *fairness.warnings(checked),
                *yardsticks.warnings(checked),
                *without_effect.warnings(checked),
                *samplers.problems(checked),
                *dependencies.problems(checked),
                *seeds.problems(checked),
                *([] if one_trial else held_out.problems(checked)),
                *amounts.too_many_trials(spec, cells),
                *tracking.problems(spec),
                *claim_names.problems(spec, drafts),
                *claim_margins.problems(spec, cells),
                # Of cells with errors it is not known what they will measure.
                *([] if one_trial or len(cells) < len(checked) else claim_obstacles.warnings(spec, cells)),
            ]
        ),
        notes=(
            *earlier.notes,
            *([chosen.note()] if chosen is not None and any(map(_lacks_gpus, checked)) else []),
            *([precision.note()] if precision.value != default_precision.USUAL else []),
            *trials.notes,
            *search_notes(cells),
            *searches.notes,
            *ending_notes(cells),
            *kept_weights.notes(cells),
            *rungs.notes(cells),
            *rungs.too_few(cells, spec.finalists.top if spec.finalists.per_cell else 1),
            *fairness.notes(cells),
            *yardsticks.notes(cells),
            *held_out.notes(cells),
            *calibration.notes(cells),
            *tracking.notes(spec.tracking),
            *_date_notes(cells),
            *own_methods.notes(spec),
            *own_rewards.notes(cells),
        ),
        selected=tuple(draft.name for draft in selected),
        requirements=tuple(dict.fromkeys(need for each in checked for need in each.requirements)),
        settled=earlier.settled,
        date=date,
        conventions=conventions,
        precision=precision.value,
    )


def today() -> str:
    """Today's date, such as ``2026-11-28``."""
    return datetime.now().date().isoformat()


def _lacks_gpus(checked: CheckedDraft) -> bool:
    """Whether neither the spec nor an entry of it says how many GPUs the cell's workers take."""
    return node_at(checked.draft.parts, ("resources", "gpus")) is None


def _date_notes(cells: Sequence[Cell]) -> Iterator[str]:
    for date in dict.fromkeys(cell.tree["data"].get("date") for cell in cells):
        if date is not None:
            yield f"the chat template writes the date of the run's first start, {date} (data.date: another one)"


def largest_peak(cell: Cell, capacity: int) -> ConfigMemory:
    """A cell's largest peak; where the spec leaves the workers open, with as few as make it fit."""
    assert cell.predicted is not None
    largest = cell.predicted.largest
    return with_fewest_workers(largest, capacity) if cell.resources.workers == "auto" else largest
