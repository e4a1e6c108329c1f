"""Stages that learn the same thing in different ways, side by side: which answers are good.

Each has its own quality (pair accuracy, or AUC for labelled answers). What all of them record is ``auc``: how often a
good held-out answer is likelier than a bad one, of any two, by the mean log-probability of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.comparison import group_of
from reports.gather import Cell
from reports.group import Group
from trainables.results import Record

COMMON = "auc"
STAGES = "preference stages"


def across(groups: Sequence[Group]) -> list[Group]:
    """A group for each model and data set that several such stages were trained on, measured by what is common."""
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        if group.scored is not None and COMMON in group.scored.metrics:
            found.setdefault((group.model, group.data), []).append(group)
    return [
        group_of(STAGES, model, data, [_by_common(row.cell) for group in several for row in group.all_rows])
        for (model, data), several in found.items()
        if len(several) > 1
    ]


def _by_common(cell: Cell) -> Cell:
    """The cell with the common measure as its quality; its best is still the best by its own objective."""
    return replace(cell, records=tuple(map(_measured, cell.records)))


def _measured(record: Record) -> Record:
    common = {"quality": record.metrics.get(COMMON), "quality_name": COMMON, "quality_unit": ""}
    return record.model_copy(update={**common, "quality_higher_is_better": True})
