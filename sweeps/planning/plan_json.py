"""A plan and its parts as ``paretune plan --json`` prints them."""

from __future__ import annotations

from typing import Any

from sweeps.planning.cell import Cell
from sweeps.planning.memory.fit import Fit
from sweeps.planning.plan import CHOSEN, Plan
from sweeps.planning.times.wording import cell_time_json, time_json
from sweeps.spec.problems import Problem
from sweeps.spec.settings import STARTUP
from trainables.trial.config import TrialConfig


def plan_json(plan: Plan, capacity: int | None = None) -> dict[str, Any]:
    """The whole plan; with ``capacity`` (bytes) also what fits in it."""
    fits: dict[str, Any] = {}
    if capacity is not None:
        fits = {"memory_limit_bytes": capacity, "fits": [fit_json(fit) for fit in plan.fits(capacity)]}
    times = plan.times()
    return {
        **fits,
        "name": plan.spec.name,
        "cells": [cell_json(cell) | cell_time_json(times.cells[cell.name]) for cell in plan.cells],
        "base": [trial_json(base) for base in plan.bases],
        "trials": plan.trials,
        "finalists": plan.finalists,
        "time": time_json(times),
        "resources": {name: getattr(plan.spec.resources, name) for name in ("workers", *CHOSEN)},
        "problems": [problem_json(problem) for problem in plan.problems],
        "notes": list(plan.notes),
    }


def fit_json(fit: Fit) -> dict[str, Any]:
    change = fit.change and {
        "change": fit.change.description,
        "peak_bytes": fit.change.predicted.peak_bytes,
    }
    return {
        "cell": fit.cell,
        "peak_bytes": fit.predicted.peak_bytes,
        "spare_bytes": fit.spare,
        "change": change,
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
    }


def trial_json(config: TrialConfig) -> dict[str, Any]:
    return {
        "cell": config.cell,
        "stage": config.stage.kind,
        "method": config.method_name,
        "model": config.model.label,
        "data": config.data.label,
    }


def problem_json(problem: Problem) -> dict[str, Any]:
    severity = "error" if problem.error else "warning"
    return {"where": problem.where, "path": problem.path, "what": problem.what, "severity": severity}
