"""What the trials of a cell had at the step where all of them are first compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from reports.analysis.cells import Cell
from trainables.results import TRAINING_OBJECTIVE, Comparison


@dataclass(frozen=True)
class FirstRung:
    """The ``values`` of trials at a ``step``, by trial id: minus the training loss, or the objective on the validation
    rows; higher is better.
    """

    step: int
    compared_by: Comparison
    values: Mapping[str, float]


def first_rung(cell: Cell) -> FirstRung | None:
    """``None`` where the cell's run has kept no rungs, or no trial of its search has come to the first."""
    rungs = cell.run.environment.get("rungs")
    steps = rungs.get(cell.name) if isinstance(rungs, dict) else None
    if not isinstance(steps, list) or not steps or not isinstance(steps[0], int):
        return None
    # Some steps have both: what trials are compared by is then the training loss.
    if by_loss := _values_at(cell, steps[0], TRAINING_OBJECTIVE):
        return FirstRung(steps[0], "training", by_loss)
    values = _values_at(cell, steps[0], "objective")
    return FirstRung(steps[0], "validation", values) if values else None


def _values_at(cell: Cell, step: int, name: str) -> dict[str, float]:
    import pyarrow.compute as pc

    curves, trials = cell.run.curves, {record.trial_id for record in cell.search_trials}
    points = curves.filter(pc.and_(pc.equal(curves["step"], step), pc.equal(curves["name"], name)))
    return {
        point["trial_id"]: point["value"]
        for point in points.to_pylist()
        if point["trial_id"] in trials and point["value"] is not None and isfinite(point["value"])
    }
