"""The quality and the cost of each cell: one row per cell, compared within a stage, model and data set.

for group in compare([run]):
    print(group.title, [row.name for row in group.rows])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

from reports import units
from reports.analysis import row_scores
from reports.analysis.cells import Cell, collect_cells
from reports.analysis.evaluation_sets import data_of
from reports.analysis.group import Group
from reports.analysis.row import BASE, Row
from reports.analysis.yardsticks import measured_alike
from reports.statistics import pareto
from reports.statistics.intervals import pooled_seed_variance
from trainables.results import Run


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

    def order(row: Row) -> tuple[bool, float, float]:
        # Best quality first, of equal ones the one of less memory; cells without a result last.
        memory = inf if row.peak is None else row.peak
        return row.quality is None, (-1 if higher else 1) * (row.quality or 0.0), memory

    bases = _one_of_each([row(cell) for cell in cells if cell.is_base])
    return Group(stage, model, data, tuple(sorted(map(row, trained), key=order)), bases)


def _one_of_each(bases: Sequence[Row]) -> tuple[Row, ...]:
    """The models before training: of several runs that scored the same one alike, one row; else each names its run."""
    if len({base.cell.run.folder for base in bases}) < 2:
        return tuple(bases)
    by_start: dict[str | None, dict[tuple[Any, ...], Row]] = {}
    for base in bases:
        rows = base.best.test_rows if base.best is not None else None
        sets = base.best.sets if base.best is not None else {}
        # Of further sets, what they measure would be the same, but under one name there may be other rows.
        scored = frozenset((name, data_of(each)) for name, each in sets.items())
        score = units.quality(base.quality, None), rows, scored
        by_start.setdefault(base.start, {}).setdefault(score, base)
    return tuple(
        replace(base, name=BASE) if len(scores) == 1 else replace(base, test_rows_of=base.cell.run.name)
        for scores in by_start.values()
        for base in scores.values()
    )


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
