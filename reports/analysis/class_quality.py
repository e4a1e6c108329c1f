"""The quality of classifiers: macro-F1, also of trials that an earlier version judged by accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainables.results import Record, Run

STAGE, EARLIER, NOW = "classification", "accuracy", "macro_f1"
Rows = tuple[str, str | None]  # a data set, and of a further evaluation set its name


def of_one_quality(runs: Sequence[Run]) -> list[Run]:
    """The runs, with macro-F1 as the quality of all classifiers on rows by which any of them is judged by it.

    A run that an earlier version began and this one went on with has trials of both kinds, and all recorded macro-F1.
    Where all classifiers were judged by accuracy, their records stay as they are.
    """
    now = {rows for run in runs for record in run.records for rows in _judged_now(record)}
    if not now:
        return list(runs)
    return [replace(run, records=[_by_macro_f1(record, now) for record in run.records]) for run in runs]


def _judged_now(record: Record) -> list[Rows]:
    if record.stage != STAGE:
        return []
    own: list[Rows] = [(record.data, None)] if record.quality_name == NOW else []
    return [*own, *((record.data, name) for name, each in record.sets.items() if each.quality_name == NOW)]


def _by_macro_f1(record: Record, now: set[Rows]) -> Record:
    if record.stage != STAGE:
        return record
    changes: dict[str, Any] = {}
    if (record.data, None) in now:
        changes = _changes(record.quality_name, record.quality, record.metrics)
    sets = {
        name: each.model_copy(update=_changes(each.quality_name, each.quality, each.metrics))
        if (record.data, name) in now
        else each
        for name, each in record.sets.items()
    }
    return record.model_copy(update={**changes, "sets": sets})


def _changes(name: str | None, quality: float | None, metrics: Mapping[str, float]) -> dict[str, Any]:
    """The fields that make macro-F1 the quality; none where it is that already, or was not recorded.

    A trial without a quality, as one that failed, names the one that it would have had.
    """
    if name != EARLIER or (quality is not None and NOW not in metrics):
        return {}
    return {"quality_name": NOW, "quality_unit": "", "quality": metrics.get(NOW)}
