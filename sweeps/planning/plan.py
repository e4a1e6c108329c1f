"""The plan: every cell of a sweep with its budget, the base models to score, and all that is wrong.

>>> make(read("methods")).cells[0].name  # doctest: +SKIP
'sft-full'
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeps.planning.cell import Cell, build_config
from sweeps.planning.checks import dependencies, fairness
from sweeps.planning.checks.cell import check_draft
from sweeps.planning.checks.requirements import Requirement
from sweeps.planning.draft import Draft
from sweeps.planning.filters import select_drafts
from sweeps.planning.grid import make_drafts
from sweeps.planning.inputs import InputFinder
from sweeps.planning.links import with_dependencies
from sweeps.planning.memory import calibration
from sweeps.planning.memory.cell_memory import with_fewest_workers
from sweeps.planning.memory.fit import Fit, assess_fit
from sweeps.runs.earlier_results import Earlier
from sweeps.runs.layout import Settled
from sweeps.spec.byte_sizes import parse_bytes
from sweeps.spec.entries import BASE
from sweeps.spec.naming import distinguishing_tags, join_name
from sweeps.spec.problems import Problem, SpecError, unique
from sweeps.spec.settings import ResourcesConfig
from sweeps.spec.spec import Spec
from trainables.config import limits
from trainables.storage import files
from trainables.trial.config import TrialConfig

if TYPE_CHECKING:
    from sweeps.planning.memory.cell_memory import ConfigMemory

__all__ = ["Cell", "Plan", "base_config", "make"]


@dataclass(frozen=True)
class Plan:
    """What a run of ``spec`` does. With errors it must not start; ``cells`` holds those that are well."""

    spec: Spec
    cells: tuple[Cell, ...]
    bases: tuple[TrialConfig, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    selected: tuple[str, ...] = ()  # the cells that the filters match; the others are what these go on from
    requirements: tuple[Requirement, ...] = ()  # what its trials ask by name of the machines they run on
    settled: Settled = field(default_factory=dict)  # which trials of earlier runs it starts from

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.error)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if not problem.error)

    @property
    def trials(self) -> int:
        """The search trials of all cells; the base models come on top."""
        return sum(cell.trials for cell in self.cells)

    def cell(self, name: str) -> Cell:
        return next(cell for cell in self.cells if cell.name == name)

    def resolved(self) -> dict[str, Any]:
        """The spec with defaults and overrides applied, for ``resolved.yaml``."""
        return self.spec.resolved()

    def fingerprint(self) -> str:
        """A hash of all in the spec that decides what a trial is: a resumed run must have the same.

        The number of trials may grow; the question, the tracking and most of the resources change no trial.
        """
        tree = {key: part for key, part in self.resolved().items() if key not in ("question", "tracking")}
        tree["resources"] = {key: tree["resources"][key] for key in ("workers", "cpus", "gpus")}
        tree["search"] = _without_trials(tree["search"])
        for part in ("stages", "methods"):
            tree[part] = [_without_own_trials(entry) for entry in tree.get(part) or ()]
        return files.sha256(tree)

    @property
    def memory_limit(self) -> int | None:
        """The bytes that the spec says a worker may take; ``None`` where it doesn't."""
        stated = self.spec.resources.memory
        return parse_bytes(stated) if stated else None

    @property
    def resources(self) -> tuple[ResourcesConfig, ...]:
        """What trials take of a machine, each once."""
        return tuple({cell.resources: None for cell in self.cells}) or (self.spec.resources,)

    def fits(self, memory: int | None) -> list[Fit]:
        """Of each cell whose memory is foretold, whether its greatest peak is within so many bytes."""
        if memory is None:
            return []
        return [
            assess_fit(cell.name, _with_workers(cell, memory), memory)
            for cell in self.cells
            if cell.predicted
        ]

    def to_json(self, memory: int | None = None) -> dict[str, Any]:
        """The plan as ``paretune plan --json`` prints it; with ``memory`` (bytes), what fits in that."""
        fits = {"fits": [_fit_json(found) for found in self.fits(memory)]} if memory is not None else {}
        return {
            **fits,
            "name": self.spec.name,
            "cells": [_cell_json(cell) for cell in self.cells],
            "base": [_trial_json(base) for base in self.bases],
            "trials": self.trials,
            "problems": [_problem_json(problem) for problem in self.problems],
            "notes": list(self.notes),
        }


def make(
    spec: Spec,
    *,
    stage: str | None = None,
    method: str | None = None,
    fetch: bool = False,
    local: bool = True,
    earlier: Earlier | None = None,
) -> Plan:
    """Plans a spec, or those of its cells that the filters match.

    With ``fetch`` a named model that isn't on this machine is downloaded; else that is a warning. ``here``: trials
    will run on this machine; if not, what they need has to be asked elsewhere. ``earlier``: the results of other runs.
    """
    earlier = earlier or Earlier()
    found, problems = make_drafts(spec, earlier)
    _refuse_too_many_probes(spec, found)
    matched, unmatched = select_drafts(found, stage, method)
    chosen = with_dependencies(matched, found)
    materials = InputFinder(fetch)
    checked = [check_draft(spec, draft, materials, local) for draft in chosen]
    cells = tuple(one.cell for one in checked if one.cell is not None)
    bases = tuple(_bases(cells))
    return Plan(
        spec=spec,
        cells=cells,
        bases=bases,
        problems=unique(
            [
                *spec.problems,
                *problems,
                *unmatched,
                *(problem for one in checked for problem in one.problems),
                *fairness.warnings(spec, checked),
                *dependencies.problems(spec, checked),
                *_too_many_trials(spec, cells),
            ]
        ),
        notes=(*earlier.notes, *fairness.notes(cells), *calibration.notes(cells)),
        selected=tuple(draft.name for draft in matched),
        requirements=tuple(dict.fromkeys(need for one in checked for need in one.needs)),
        settled=earlier.settled,
    )


def _refuse_too_many_probes(spec: Spec, found: Sequence[Draft]) -> None:
    """Raises ``SpecError`` where trying every end and choice of all cells would take minutes."""
    probes = sum(len(domain.probes()) for draft in found for domain in draft.space.values())
    if probes > limits.PROBES:
        what = (
            f"{probes:,} ends and choices to be searched in {len(found):,} cells; a sweep has at most "
            f"{limits.PROBES:,}. List fewer choices, or write a range, as {{int: [low, high]}}"
        )
        raise SpecError(spec.source.problem(("methods",), what))


def _too_many_trials(spec: Spec, cells: Sequence[Cell]) -> Iterator[Problem]:
    if (trials := sum(cell.trials for cell in cells)) > limits.SWEEP_TRIALS:
        what = f"{trials:,} trials in {len(cells):,} cells; a sweep has at most {limits.SWEEP_TRIALS:,}"
        yield spec.source.problem(("search", "trials"), what)


def _bases(cells: Sequence[Cell]) -> Iterator[TrialConfig]:
    """The untrained model once per stage, model and data, with the first such cell's training settings."""
    for stage in dict.fromkeys(cell.stage for cell in cells):
        bases: dict[str, TrialConfig] = {}
        for cell in cells:
            if cell.stage != stage:
                continue
            base = base_config(cell)
            bases.setdefault(_identity(base), base)
        described = [_described(base) for base in bases.values()]
        for base, tag in zip(bases.values(), distinguishing_tags(described), strict=True):
            yield base.model_copy(update={"cell": join_name(stage, BASE, tag)})


def base_config(cell: Cell) -> TrialConfig:
    """What a cell's trials start from, scored as it is, with the cell's first training settings."""
    first = {
        leaf: domain.probes()[0] for leaf, domain in cell.space.items() if not leaf.startswith("method.")
    }
    name = join_name(cell.stage, BASE)
    tree = {**cell.tree, "cell": name, "method": None, "method_name": BASE, "role": "base"}
    return build_config(tree, first)


def _identity(base: TrialConfig) -> str:
    return json.dumps([base.stage.model_dump(mode="json"), _named(base.model), _named(base.data)])


def _described(base: TrialConfig) -> dict[str, Any]:
    """What may tell a stage's bases apart; of what others train, whose it is."""
    model = {key: value for key, value in _named(base.model).items() if key != "start" and value}
    model["unsafe"] = "-".join(base.model.unsafe)
    taken = {key: trained.identity for _, key, trained in base.trained()}
    return {"model": model, "data": _named(base.data), **taken}


def _named(config: Any) -> dict[str, Any]:
    return dict(config.model_dump(mode="json", exclude={"fingerprint", "sha256"}))


def _without_trials(search: Any) -> Any:
    if not isinstance(search, dict):
        return search
    return {key: value for key, value in search.items() if key != "trials"}


def _without_own_trials(entry: Any) -> Any:
    if not isinstance(entry, dict) or "search" not in entry:
        return entry
    search = _without_trials(entry["search"])
    rest = {key: value for key, value in entry.items() if key != "search"}
    # An entry that only changed its trials is an entry without `search`.
    return {**rest, "search": search} if search else rest


def _with_workers(cell: Cell, memory: int) -> ConfigMemory:
    """A cell's largest case, with as many workers as make it fit where the spec leaves that open."""
    assert cell.predicted is not None
    most = cell.predicted.largest
    return with_fewest_workers(most, memory) if cell.resources.workers == "auto" else most


def _fit_json(found: Fit) -> dict[str, Any]:
    change = found.change and {
        "change": found.change.description,
        "peak_bytes": found.change.predicted.peak_bytes,
    }
    return {
        "cell": found.cell,
        "peak_bytes": found.predicted.peak_bytes,
        "spare_bytes": found.spare,
        "change": change,
    }


def _cell_json(cell: Cell) -> dict[str, Any]:
    return {
        **_trial_json(cell.first()),
        "stage": cell.stage,
        "trials": cell.trials,
        "steps": cell.steps,
        "rungs": list(cell.rungs),
        "space": {leaf: str(domain) for leaf, domain in cell.space.items()},
        "prior": cell.prior(),
        "needs": list(cell.depends_on),
        "predicted_peak_bytes": cell.predicted.largest.peak_bytes if cell.predicted else None,
        "predicted": cell.predicted.to_json() if cell.predicted else None,
    }


def _trial_json(config: TrialConfig) -> dict[str, Any]:
    return {
        "cell": config.cell,
        "stage": config.stage.kind,
        "method": config.method_name,
        "model": config.model.label,
        "data": config.data.label,
    }


def _problem_json(problem: Problem) -> dict[str, Any]:
    severity = "error" if problem.error else "warning"
    return {"where": problem.where, "path": problem.path, "what": problem.what, "severity": severity}
