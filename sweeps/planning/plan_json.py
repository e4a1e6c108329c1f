"""A plan's parts as ``paretune plan --json`` prints them."""

from __future__ import annotations

from typing import Any

from sweeps.planning.cell import Cell
from sweeps.planning.memory.fit import Fit
from sweeps.spec.problems import Problem
from sweeps.spec.settings import STARTUP
from trainables.trial.config import TrialConfig


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
