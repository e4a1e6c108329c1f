"""Stages that learn the same thing in different ways, side by side: which answers are good.

Each has its own quality (pair accuracy, or AUC for labelled answers). What all of them record is ``auc``: how often a
good held-out answer is likelier than a bad one, of any two, by the mean log-probability of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.analysis.cells import Cell
from reports.analysis.comparison import group_of
from reports.analysis.group import Group, Row
from trainables.results import Record

COMMON = "auc"
STAGES = "preference stages"


def across(groups: Sequence[Group]) -> list[Group]:
    """A group for each model and data set that several such stages were trained on, measured by what is common."""
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        if group.scored is not None and COMMON in group.scored.metrics:
            found.setdefault((group.model, group.data), []).append(group)
    together = (
        group_of(STAGES, model, data, [_by_common(row.cell) for group in several for row in group.all_rows])
        for (model, data), several in found.items()
        if len(several) > 1
    )
    return [replace(group, bases=_each_once(group.bases)) for group in together]


def _each_once(bases: Sequence[Row]) -> tuple[Row, ...]:
    """One row for each start, though each of its stages scored it; where these disagree, whose rows it was scored on:
    pairs and labelled answers are other rows of the same data.
    """
    unlike: dict[str | None, dict[float | None, Row]] = {}
    for row in bases:
        unlike.setdefault(row.start, {}).setdefault(row.quality, row)
    return tuple(
        replace(row, on_rows_of=row.cell.records[0].stage) if len(found) > 1 else row
        for found in unlike.values()
        for row in found.values()
    )


def _by_common(cell: Cell) -> Cell:
    """The cell with the common measure as its quality; its best is still the best by its own objective."""
    return replace(cell, records=tuple(map(_measured, cell.records)))


def _measured(record: Record) -> Record:
    common = {"quality": record.metrics.get(COMMON), "quality_name": COMMON, "quality_unit": ""}
    return record.model_copy(update={**common, "quality_higher_is_better": True})
