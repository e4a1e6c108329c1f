"""The quality and the cost of each cell: one row per cell, compared within a stage, model and data set.

for group in compare([run]):
    print(group.title, [row.name for row in group.rows])
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reports import units
from reports.analysis import row_scores
from reports.analysis.cells import Cell, collect_cells
from reports.analysis.group import Group, Row
from reports.analysis.spreadsheet_cells import plain
from reports.analysis.yardsticks import measured_alike
from reports.statistics import pareto
from reports.statistics.intervals import pooled_seed_variance
from trainables.results import Record, Run


def compare(runs: Sequence[Run]) -> list[Group]:
    """The groups of all runs, in the order in which their first trials started.

    Cells of one stage, model and data set that are measured otherwise (``yardsticks``) are in groups of their own, or
    in one by a measure that all of them have.
    """
    by_key: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in collect_cells(runs):
        record = cell.records[0]
        by_key.setdefault((record.stage, record.model, record.data), []).append(cell)
    return [
        replace(group_of(*key, list(alike.cells)), measured=alike.label, note=alike.note)
        for key, cells in by_key.items()
        for alike in measured_alike(cells)
    ]


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
    return [
        _columns(group, row) | unset | _written(row.settings) for group in groups for row in group.all_rows
    ]


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


def group_of(stage: str, model: str, data: str, cells: list[Cell]) -> Group:
    """The cells as one group: which is best, which are on the front, and each one's share of the largest peak."""
    _refuse_mixed_metrics(f"{stage} of {model} on {data}", cells)
    cells = _on_common_rows(cells)
    trained = [cell for cell in cells if not cell.is_base]
    # Records without a result say nothing of the direction, so only an explicit False makes lower better.
    higher = not any(record.quality_higher_is_better is False for cell in cells for record in cell.records)
    points = [_point(cell) for cell in trained]
    largest = max((point.cost for point in points if point.cost is not None), default=None)
    on_front = {point.name for point in pareto.front(points, higher)}
    methods = Counter(cell.method for cell in cells)
    seeds = pooled_seed_variance([cell.estimate for cell in trained if cell.estimate is not None])

    def row(cell: Cell) -> Row:
        point = _point(cell)
        return Row(
            # The short name where it is unambiguous within the group.
            name=cell.method if methods[cell.method] == 1 else cell.label,
            cell=cell,
            share_of_largest_peak=point.cost / largest if point.cost is not None and largest else None,
            on_front=cell.label in on_front,
            seed_variance=seeds,
        )

    def order(row: Row) -> tuple[bool, float]:
        # Best quality first; cells without a result last.
        return row.quality is None, (-1 if higher else 1) * (row.quality or 0.0)

    bases = tuple(row(cell) for cell in cells if cell.is_base)
    return Group(stage, model, data, tuple(sorted(map(row, trained), key=order)), bases)


def _on_common_rows(cells: list[Cell]) -> list[Cell]:
    """The cells, judged by those of the later scored rows that all of them have: they stay comparable row by row."""
    judged = [cell for cell in cells if cell.judged_trials]
    further = min((row_scores.count_further(cell.run, cell.judged_trials) for cell in judged), default=0)
    if not further or any(cell.estimate is None for cell in judged):
        return cells
    return [replace(cell, further_rows=further) for cell in cells]


def _refuse_mixed_metrics(title: str, cells: list[Cell]) -> None:
    metrics = {r.quality_name: cell.run.folder for cell in cells for r in cell.records if r.quality_name}
    if len(metrics) > 1:
        where = ", ".join(f"{name} in {folder}" for name, folder in metrics.items())
        raise ValueError(
            f"{title} was measured by different metrics ({where}). Report these runs separately."
        )


def _point(cell: Cell) -> pareto.Point:
    return pareto.Point(cell.label, cell.best.peak_bytes if cell.best else None, cell.quality)


# The columns that a row takes from its cell's best trial.
_FROM_BEST = (
    "quality_name", "quality_unit", "quality_higher_is_better", "test_rows", "objective",
    "peak_bytes", "peak_train_bytes", "peak_load_bytes", "peak_eval_bytes", "reserved_bytes", "baseline_bytes",
    "weight_bytes", "gradient_bytes", "optimizer_bytes", "predicted_peak_bytes", "memory_source", "trainable_params",
    "total_params", "tokens_per_second", "padding_share", "setup_seconds", "train_seconds", "eval_seconds",
    "artifact_bytes", "seed", "trial_id",
)  # fmt: skip


def _columns(group: Group, row: Row) -> dict[str, Any]:
    first, best = row.cell.records[0], row.best
    low, high = row.interval or (None, None)
    return {
        "cell": row.cell.label,
        "run": row.cell.run.name,
        **{name: getattr(first, name) for name in ("stage", "method", "model", "data", "role")},
        "quality": row.quality,
        "seeds": row.seeds or None,
        **{name: getattr(best, name) if best else None for name in _FROM_BEST},
        **({"test_rows": row.cell.estimate.rows} if row.cell.further_rows and row.cell.estimate else {}),
        "quality_low": low,
        "quality_high": high,
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
