"""Learning curves: the objective on the validation rows and the training loss, by step; a row of panels for each cell.

Curves of several cells in one panel hide one another where methods learn alike, so each cell has its own panels, with
the best of the others in grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from reports import units
from reports.analysis.group import Group
from reports.analysis.quality_names import objective_scale
from reports.analysis.row import Row
from reports.plots.drawing import Drawing
from reports.plots.marks import Marks, trial_text
from reports.plots.style import MUTED, Palette, figure, objective_label, quality_axis
from reports.plots.view import LOG_RATIO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trainables.results import Run

Curves = dict[str, list[tuple[int, float]]]  # by trial id
Panel = tuple[str, str, dict[str, Curves]]  # the curve's name, its label, the curves by the cell's label

ROW_HEIGHT, LOW_ROW_HEIGHT = 1.55, 1.2  # inches of a cell's panels; the lower ones from so many cells on:
MANY = 6


def draw(group: Group, colours: Palette, name: str) -> Drawing | None:
    """One panel for each cell and each curve that any trial has; the best trial of the cell is bold."""
    panels = [("objective", objective_label(group)), ("train_loss", "training loss")]
    drawn = [(curve, label, read(group, curve)) for curve, label in panels]
    drawn = [panel for panel in drawn if any(panel[2].values())]
    if not drawn:
        return None
    # What was measured once, at the end, is no curve, and stands in other figures.
    drawn = [panel for panel in drawn if _longest(panel[2]) > 1] or drawn
    rows = [row for row in group.rows if any(curves[row.cell.label] for _, _, curves in drawn)]
    made = figure(height=0.8 + (LOW_ROW_HEIGHT if len(rows) >= MANY else ROW_HEIGHT) * len(rows))
    grid = made.subplots(len(rows), len(drawn), sharex=True, sharey="col", squeeze=False)
    marks = Marks()
    for row, axes_of_row in zip(rows, grid, strict=True):
        for axes, (_, _, curves) in zip(axes_of_row, drawn, strict=True):
            _panel(axes, group, row, curves, colours[row.cell.method], marks)
        marks.add(axes_of_row[0].set_title(row.name, fontsize=10, fontweight="bold", loc="left"), [row.cell])
    for axes, panel in zip(grid[0], drawn, strict=True):
        _column(axes, group, panel)
    made.supxlabel("step", fontsize=10)
    return Drawing(name, made, _alt(group, drawn), marks.by_id)


def read(group: Group, curve: str) -> dict[str, Curves]:
    """The finite points (step, value) of one curve, by the cell's label, then by trial id; objectives as shown."""
    sign = objective_scale(group).sign if curve == "objective" else 1
    # By identity: a run holds lists and dicts, so it can't be hashed. Its cells share one object.
    by_run: dict[int, Curves] = {}
    for row in group.rows:
        run = row.cell.run
        if id(run) not in by_run:
            by_run[id(run)] = _of_run(run, curve, sign)
    return {
        row.cell.label: {
            record.trial_id: points
            for record in row.cell.records
            if (points := by_run[id(row.cell.run)].get(record.trial_id))
        }
        for row in group.rows
    }


def _of_run(run: Run, curve: str, sign: int) -> Curves:
    import pyarrow.compute as pc

    curves: Curves = {}
    for point in run.curves.filter(pc.equal(run.curves["name"], curve)).to_pylist():
        if point["value"] is not None and isfinite(point["value"]):
            curves.setdefault(point["trial_id"], []).append((point["step"], sign * point["value"]))
    return {trial: sorted(points) for trial, points in curves.items()}


def _panel(axes: Axes, group: Group, row: Row, curves: dict[str, Curves], colour: str, marks: Marks) -> None:
    """The trials of one cell, and behind them the best of each other cell."""
    # Short curves have markers: a line through a single point would be invisible.
    dots = _longest(curves) < 12
    for other in group.rows:
        points = curves[other.cell.label].get(other.best.trial_id) if other.best is not None else None
        if other is not row and points:
            (line,) = axes.plot(*_xy(points), color=MUTED, linewidth=0.9, alpha=0.4, zorder=1)
            marks.add(line, [other.cell])
    records = {record.trial_id: record for record in row.cell.records}
    for trial, points in curves[row.cell.label].items():
        best = row.best is not None and trial == row.best.trial_id
        style: dict[str, Any] = (
            {"linewidth": 2.2, "zorder": 4} if best else {"linewidth": 1.0, "alpha": 0.5, "zorder": 2}
        )
        mark: dict[str, Any] = {"marker": "o", "markersize": 4 if best else 3} if dots else {}
        (line,) = axes.plot(*_xy(points), color=colour, **style, **mark)
        marks.add(line, [row.cell], trial_text(group, row, records[trial]))


def _longest(curves: dict[str, Curves]) -> int:
    return max(len(points) for trials in curves.values() for points in trials.values())


def _xy(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in points], [value for _, value in points]


def _column(axes: Axes, group: Group, panel: Panel) -> None:
    """The name and the scale of a column of panels, which share it, at the uppermost one."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    curve, label, curves = panel
    axes.annotate(
        " ".join(label.split()), (0, 1), xycoords="axes fraction", xytext=(0, 19), textcoords="offset points",
        color=MUTED, fontsize=9.5,
    )  # fmt: skip
    scale = objective_scale(group)
    if curve == "objective":
        quality_axis(axes, scale.unit)
    ratio = _ratio(curves)
    if (curve == "train_loss" or not scale.higher_is_better) and ratio >= LOG_RATIO:
        axes.set_yscale("log")
        # A panel has room for about four numbers.
        subs = (1.0, 3.0) if ratio < 100 else (1.0,)
        axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.number(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _ratio(curves: dict[str, Curves]) -> float:
    """Of the largest value to the smallest, 0 where some are not positive: from :data:`LOG_RATIO` on only a logarithmic
    axis shows how losses end.
    """
    values = [value for trials in curves.values() for points in trials.values() for _, value in points]
    return max(values) / min(values) if min(values) > 0 else 0.0


def _alt(group: Group, drawn: list[Panel]) -> str:
    return " ".join(
        f"Line charts of {' '.join(label.split())} by step, one for each cell. {_ends(group, curves)}"
        for _, label, curves in drawn
    )


def _ends(group: Group, curves: dict[str, Curves]) -> str:
    ends = [_end(row, curves[row.cell.label].get(row.best.trial_id)) for row in group.rows if row.best]
    return f"Best of each cell, first and last value: {'; '.join(end for end in ends if end) or 'none'}."


def _end(row: Row, points: list[tuple[int, float]] | None) -> str | None:
    if not points:
        return None
    (first, start), (last, end) = points[0], points[-1]
    return f"{row.name} {units.number(start)} at step {first} to {units.number(end)} at step {last}"
