"""Stages side by side that learn the same in different ways: which answers are good, or which label a text has.

Each has its own quality (pair accuracy, or AUC for labelled answers). What all of them record is ``pair_accuracy``, the
share of pairs of answers to one prompt of which the good one has the higher mean log-probability per token, and
``auc``, the same of pairs of any good with any bad answer. Prompts differ in how likely any answer to them is, which
hides differences from an AUC: it stands in for pair accuracy only where a stage has none.

A classifier's head and a language model that writes the label as a text (``sft``) share ``macro_f1``, the classifier's
quality, in which any text but the right label is wrong; in records of earlier versions without it ``accuracy``, the
share of test rows with the right label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from reports.analysis.cells import Cell
from reports.analysis.comparison import group_of
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.analysis.row_scores import MACRO_F1
from reports.analysis.yardsticks import measured_by
from reports.text import text

PAIRS, ANY_ANSWERS = (
    "pair_accuracy",
    "auc",
)  # what they share: policies have both, where a prompt has both kinds
ACCURACY = "accuracy"
UNITS = {PAIRS: "fraction", ANY_ANSWERS: "", ACCURACY: "fraction", MACRO_F1: ""}
STAGE_NAME, LABELS_NAME = text("preference stages"), text("classified and written labels")
LABELS_NOTE = text(
    "A classifier has a head with an output for each label; the other cells write the label as a text. Both are judged "
    "by one measure on the same rows: macro-F1, or accuracy where a trial did not record it. Any text but the right "
    "label is wrong. The best trial of each cell is the one with the best objective of its own stage."
)


def compare_across_stages(groups: Sequence[Group]) -> list[Group]:
    """One group for each model and data set that several stages of a kind were trained on, by a measure of all."""
    return [*_preference_stages(groups), *_labelling_stages(groups)]


def _labelling_stages(groups: Sequence[Group]) -> Iterator[Group]:
    """Classifiers beside language models that learned the same labels."""
    by_model_and_data: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        record = group.metric_record
        if record is not None and (record.quality_name == ACCURACY or ACCURACY in record.metrics):
            by_model_and_data.setdefault((group.model, group.data), []).append(group)
    for (model, data), several in by_model_and_data.items():
        if len({group.stage for group in several}) > 1 and any(_is_classified(group) for group in several):
            cells = [row.cell for group in several for row in group.rows if _has(row.cell, ACCURACY)]
            if len({cell.records[0].stage for cell in cells}) < 2:
                continue
            measure = MACRO_F1 if all(_has(cell, MACRO_F1) for cell in cells) else ACCURACY
            measured = [measured_by(cell, measure, UNITS[measure]) for cell in cells]
            # Without the models before training: that of each stage is another, a new head and a model that writes.
            yield replace(group_of(LABELS_NAME, model, data, measured), note=LABELS_NOTE)


def _is_classified(group: Group) -> bool:
    return group.metric_record is not None and group.metric_record.quality_name in (MACRO_F1, ACCURACY)


def _has(cell: Cell, measure: str) -> bool:
    """Whether a cell has results, and all of them have a measure."""
    results = [record for record in cell.records if record.quality is not None]
    return bool(results) and all(
        record.quality_name == measure or measure in record.metrics for record in results
    )


def _preference_stages(groups: Sequence[Group]) -> list[Group]:
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
