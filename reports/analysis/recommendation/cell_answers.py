"""What the answer says of each cell, in a word or two, for the table and for programs."""

from __future__ import annotations

from reports.analysis.group import Group
from reports.analysis.recommendation.answer import recommend
from reports.analysis.row import Row
from reports.analysis.runs.progress import progress
from reports.statistics.pareto import EQUAL_PEAKS

USE, SHORT, ONLY = "use this", "if memory is short", "the only one"
COSTLIER = "as good, with more memory"
NO_RESULT, NONE_YET = "no result", "no result yet"
NO_GAIN, UNKNOWN = "no better than untuned", "error unknown"


def cell_answers(group: Group) -> dict[str, str]:
    """The answer on each cell, by its label; on models before training nothing, unless none of the cells beats them."""
    recommended = recommend(group)
    best = group.scored_rows[0] if group.scored_rows else None
    base = group.base_of(best) if best is not None else None
    if (
        best is not None
        and base is not None
        and not group.is_better(best.quality or 0.0, base.quality or 0.0)
    ):
        answers = {
            row.cell.label: NO_GAIN if row.quality is not None else _missing(row) for row in group.rows
        }
        return {**answers, base.cell.label: USE}
    return {row.cell.label: _answer(group, row, recommended) for row in group.rows}


def _answer(group: Group, row: Row, recommended: Row | None) -> str:
    if row.quality is None or recommended is None:
        return _missing(row)
    if len(group.scored_rows) == 1:
        return ONLY
    if row is recommended:
        return USE
    cheaper = _is_cheaper(row, recommended)
    if cheaper and row.on_front:
        return SHORT
    best = group.scored_rows[0]
    if row is best:
        return COSTLIER
    outcome = group.verdict(row, best).outcome
    return {"as good": "as good" if cheaper else COSTLIER, "unknown": UNKNOWN}.get(outcome, outcome)


def _is_cheaper(row: Row, other: Row) -> bool:
    return row.peak is not None and other.peak is not None and row.peak < other.peak * (1 - EQUAL_PEAKS)


def _missing(row: Row) -> str:
    unfinished = progress(row.cell.run)
    return NONE_YET if unfinished is not None and row.cell.name in unfinished.cells else NO_RESULT
