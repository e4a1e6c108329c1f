"""Preference stages side by side: several stages that learn, in different ways, which answers are good.

Each has its own quality (pair accuracy, or AUC for labelled answers). What all of them record is ``pair_accuracy``, the
share of pairs of answers to one prompt of which the good one has the higher mean log-probability per token, and
``auc``, the same of pairs of any good with any bad answer. Prompts differ in how likely any answer to them is, which
hides differences from an AUC: it stands in for pair accuracy only where a stage has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.analysis.cells import Cell
from reports.analysis.comparison import group_of
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.analysis.yardsticks import measured_by

PAIRS, ANY_ANSWERS = (
    "pair_accuracy",
    "auc",
)  # what they share: policies have both, where a prompt has both kinds
UNITS = {PAIRS: "fraction", ANY_ANSWERS: ""}
STAGE_NAME = "preference stages"


def compare_across_stages(groups: Sequence[Group]) -> list[Group]:
    """One group for each model and data set that several preference stages were trained on, by a measure of all."""
    by_model_and_data: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        # A reward model ranks by rewards and has no AUC of log-probabilities.
        if group.metric_record is not None and ANY_ANSWERS in group.metric_record.metrics:
            by_model_and_data.setdefault((group.model, group.data), []).append(group)
    merged = []
    for (model, data), several in by_model_and_data.items():
        if len(several) > 1:
            cells = [row.cell for group in several for row in group.all_rows]
            measure = _shared_measure(cells)
            measured = [measured_by(cell, measure, UNITS[measure]) for cell in cells]
            merged.append(group_of(STAGE_NAME, model, data, measured))
    return [replace(group, bases=_without_duplicates(group.bases)) for group in merged]


def _shared_measure(cells: Sequence[Cell]) -> str:
    judged = [record for cell in cells if not cell.is_base for record in cell.judged_trials]
    has_pairs = all(record.quality_name == PAIRS or PAIRS in record.metrics for record in judged)
    return PAIRS if has_pairs else ANY_ANSWERS


def _without_duplicates(bases: Sequence[Row]) -> tuple[Row, ...]:
    """One row for each starting point, though each of its stages scored it.

    Where the scores disagree, each row names the stage whose test rows it was scored on: pairs and labelled answers
    are different rows of the same data.
    """
    by_start: dict[str | None, dict[float | None, Row]] = {}
    for row in bases:
        by_start.setdefault(row.start, {}).setdefault(row.quality, row)
    return tuple(
        replace(row, test_rows_of=row.cell.records[0].stage if len(by_quality) > 1 else None)
        for by_quality in by_start.values()
        for row in by_quality.values()
    )
