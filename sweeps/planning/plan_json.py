"""A plan and its parts as ``paretune plan --json`` prints them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeps.planning.cell import Cell
from sweeps.planning.memory.fit import Fit
from sweeps.planning.memory_json import change_json, memory_json
from sweeps.planning.plan import CHOSEN, Plan
from sweeps.planning.problem_json import problems_json, unreadable_json
from sweeps.planning.resources.place import Place, this_machine
from sweeps.planning.resources.sizes import Limit, Sizes
from sweeps.planning.times.wording import cell_time_json, time_json
from sweeps.spec.problems import SpecError
from sweeps.spec.settings import STARTUP
from trainables.trial.config import TrialConfig

FORMAT = 1  # of the JSON; it counts up where a key changes its meaning or goes


def plan_json(plan: Plan, capacity: int | None = None, place: Place | None = None) -> dict[str, Any]:
    """The whole plan; with ``capacity`` (bytes) also what fits in it. ``place``: where trials run, by default here."""
    fits: dict[str, Any] = {}
    if capacity is not None:
        fits = {"memory_limit_bytes": capacity, "fits": [fit_json(fit) for fit in plan.fits(capacity)]}
    times, limits = plan.times(), _Limits(capacity, Sizes((place or this_machine()).machines))
    return {
        "format": FORMAT,
        **fits,
        "name": plan.spec.name,
        "cells": [
            cell_json(cell)
            | {"memory": memory_json(cell, limits.of_cell(cell))}
            | cell_time_json(times.cells[cell.name])
            for cell in plan.cells
        ],
        "base": [trial_json(base) for base in plan.bases],
        "trials": plan.trials,
        "finalists": plan.finalists,
        "time": time_json(times),
        "resources": {name: getattr(plan.spec.resources, name) for name in ("workers", *CHOSEN)},
        "problems": problems_json(plan.spec.source, plan.problems),
        "notes": list(plan.notes),
    }


def refused_json(error: SpecError) -> dict[str, Any]:
    """What is wrong with a spec of which no plan can be made, in the shape of a plan."""
    problems = unreadable_json(error.problems, error.__cause__)
    return {"format": FORMAT, "name": None, "cells": [], "problems": problems, "notes": []}


@dataclass(frozen=True)
class _Limits:
    """The memory that workers may use: what was asked about, or what the spec and the machine allow."""

    capacity: int | None
    sizes: Sizes

    def of_cell(self, cell: Cell) -> Limit | None:
        if self.capacity is not None:
            return Limit(self.capacity, "the given limit")
        return self.sizes.limit(cell.resources)


def fit_json(fit: Fit) -> dict[str, Any]:
    return {
        "cell": fit.cell,
        "peak_bytes": fit.predicted.peak_bytes,
        "spare_bytes": fit.spare,
        "change": change_json(fit),
    }


def cell_json(cell: Cell) -> dict[str, Any]:
    return {
        **trial_json(cell.first()),
        "stage": cell.stage,
        "trials": cell.trials,
        "steered_from_trial": cell.search.steers_from if cell.trials > STARTUP else None,
        "steps": cell.steps,
        "rungs": list(cell.rungs),
        "space": {leaf: str(domain) for leaf, domain in cell.space.items()},
        "prior": cell.prior(),
        "needs": list(cell.depends_on),
        "predicted_peak_bytes": cell.predicted.largest.peak_bytes if cell.predicted else None,
        "predicted": cell.predicted.to_json() if cell.predicted else None,
        "not_predicted": cell.not_predicted,
        "mixture": dict(cell.mixture),
        "mixtures": [{"weights": weights, "rows": dict(rows)} for weights, rows in cell.mixtures],
        "evaluation_sets": [
            {"name": each.name, "data": each.source, "rows": each.rows, "total_rows": each.total}
            | {"quality_name": each.metric.name, "quality_unit": each.metric.unit}
            for each in cell.evaluation_sets
        ],
    }


def trial_json(config: TrialConfig) -> dict[str, Any]:
    return {
        "cell": config.cell,
        "stage": config.stage.kind,
        "method": config.method_name,
        "model": config.model.label,
        "data": config.data.label,
    }
