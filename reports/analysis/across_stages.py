"""Preference stages side by side: several stages that learn, in different ways, which answers are good.

Each has its own quality (pair accuracy, or AUC for labelled answers). What all of them record is ``auc``: the
probability that a good held-out answer has a higher mean log-probability per token than a bad one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.analysis.cells import Cell
from reports.analysis.comparison import group_of
from reports.analysis.group import Group, Row
from reports.analysis.yardsticks import measured_by

SHARED_METRIC = "auc"
STAGE_NAME = "preference stages"


def compare_across_stages(groups: Sequence[Group]) -> list[Group]:
    """One group for each model and data set that several preference stages were trained on, measured by AUC."""
    by_model_and_data: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        if group.metric_record is not None and SHARED_METRIC in group.metric_record.metrics:
            by_model_and_data.setdefault((group.model, group.data), []).append(group)
    merged = (
        group_of(
            STAGE_NAME,
            model,
            data,
            [_with_shared_metric(row.cell) for group in several for row in group.all_rows],
        )
        for (model, data), several in by_model_and_data.items()
        if len(several) > 1
    )
    return [replace(group, bases=_without_duplicates(group.bases)) for group in merged]


def _without_duplicates(bases: Sequence[Row]) -> tuple[Row, ...]:
    """One row for each starting point, though each of its stages scored it.

    Where the scores disagree, each row names the stage whose test rows it was scored on: pairs and labelled answers
    are different rows of the same data.
    """
    by_start: dict[str | None, dict[float | None, Row]] = {}
    for row in bases:
        by_start.setdefault(row.start, {}).setdefault(row.quality, row)
    return tuple(
        replace(row, test_rows_of=row.cell.records[0].stage) if len(by_quality) > 1 else row
        for by_quality in by_start.values()
        for row in by_quality.values()
    )


def _with_shared_metric(cell: Cell) -> Cell:
    return measured_by(cell, SHARED_METRIC, "")
