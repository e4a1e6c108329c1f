"""One row for each cell as plain values: ``comparison.csv``, ``report.json``, the table that trackers get."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from reports import units
from reports.analysis.changes import lost, mixture_text, mixtures_differ
from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.recommendation.cell_answers import cell_answers
from reports.analysis.row import Row
from reports.analysis.spreadsheet_cells import plain
from trainables.results import SET_ENDINGS, Record, Run


def table(run: Run) -> list[dict[str, Any]]:
    """The comparison of one run as plain values, one dict per cell, ``None`` where not measured.

    >>> table(run)[0]["peak_train_bytes"]  # doctest: +SKIP
    1078036070
    """
    return table_rows(compare([run]))


def table_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """The rows of ``comparison.csv``; each searched setting is a column named by its path (``method.rank``).

    A setting whose value is null is the text ``null``; ``None`` means that the cell has no such setting.
    """
    searched = dict.fromkeys(path for group in groups for path in group.searched)
    unset = dict.fromkeys(searched)
    # `unset` gives all rows the same columns in the same order: a later value keeps its key's place.
    no_sets = dict.fromkeys(
        f"set_{each.name}{ending}" for group in groups for each in group.sets for ending in SET_ENDINGS
    )
    return [
        _columns(group, row, unset | _written(row.settings), no_sets | set_columns(group, row))
        for group in groups
        for row in group.all_rows
    ]


def set_columns(group: Group, row: Row) -> dict[str, Any]:
    """The columns of the further evaluation sets that a cell was scored on: what each measured with its interval, by
    how much worse that is than before training, and what the numbers are.
    """
    found: dict[str, Any] = {}
    for each in group.sets:
        if (quality := each.quality(row)) is None:
            continue
        change = lost(group, each, row)
        values = (
            *(quality, *(each.interval(row) or (None, None))),
            *((change.value, *(change.interval or (None, None))) if change is not None else (None,) * 3),
            *(each.quality_name, each.unit, each.rows, each.source, each.sha256),
        )
        found |= {
            f"set_{each.name}{ending}": value for ending, value in zip(SET_ENDINGS, values, strict=True)
        }
    return found


def _written(settings: dict[str, Any]) -> dict[str, Any]:
    return {path: units.setting_value(None) if value is None else value for path, value in settings.items()}


def to_csv(groups: Sequence[Group]) -> str:
    """The text of ``comparison.csv``: units are in the columns' names, a field is empty where not measured."""
    return csv_text(table_rows(groups), "cell")


def csv_text(rows: Sequence[dict[str, Any]], *without_rows: str) -> str:
    """Rows with the same columns as CSV; ``without_rows`` are the columns of a table that has none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else without_rows, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: plain(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


# The columns that a row takes from its cell's best trial.
_FROM_BEST = (
    "quality_name", "quality_unit", "quality_higher_is_better", "test_rows", "objective",
    "peak_train_bytes", "peak_load_bytes", "peak_eval_bytes", "reserved_bytes", "baseline_bytes",
    "weight_bytes", "gradient_bytes", "optimizer_bytes", "predicted_peak_bytes", "memory_source", "trainable_params",
    "total_params", "tokens_per_second", "padding_share", "setup_seconds", "eval_seconds",
    "artifact_bytes", "seed", "trial_id",
)  # fmt: skip


def _columns(group: Group, row: Row, settings: dict[str, Any], sets: dict[str, Any]) -> dict[str, Any]:
    first, best = row.cell.records[0], row.best
    low, high = group.interval(row) or (None, None)
    # As in the report's table, what decides comes first: the answer, quality, memory, time, settings.
    return {
        "cell": row.cell.label,
        "run": row.cell.run.name,
        "answer": cell_answers(group).get(row.cell.label),
        "quality": row.quality,
        "quality_low": low,
        "quality_high": high,
        **sets,
        **{name: getattr(best, name) if best else None for name in ("peak_bytes", "train_seconds")},
        **settings,
        **{name: getattr(first, name) for name in ("stage", "method", "model", "data", "role")},
        "seeds": row.seeds or None,
        **{name: getattr(best, name) if best else None for name in _FROM_BEST},
        **({"mixture": mixture_text(row) or None} if mixtures_differ(group) else {}),
        **({"test_rows": row.cell.estimate.rows} if row.cell.further_rows and row.cell.estimate else {}),
        "share_of_gain": group.share_of_gain(row),
        "share_of_largest_peak": row.share_of_largest_peak,
        "trainable_share": trainable_share(best),
        "on_front": row.on_front,
        **{f"trials_{status}": count for status, count in row.counts.items()},
    }


def trainable_share(record: Record | None) -> float | None:
    """The number of trained weights over the number of all weights; ``None`` where not recorded."""
    if record is None or record.trainable_params is None or not record.total_params:
        return None
    return record.trainable_params / record.total_params
