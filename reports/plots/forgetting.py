"""Quality gained in training against what was lost on each further evaluation set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import units
from reports.analysis.changes import Change, gained, lost, steering_set
from reports.analysis.evaluation_sets import SetResults
from reports.analysis.group import Group
from reports.analysis.quality_names import quality_name
from reports.analysis.row import Row
from reports.plots.drawing import Drawing
from reports.plots.labels import Label, place
from reports.plots.marks import Marks
from reports.plots.style import MUTED, PAPER, Palette, figure, quality_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_HEIGHT = 3.2  # inches
MARGIN = 0.12  # around the points, as a share of their range

Point = tuple[Row, Change, Change]  # a cell, what it gained, what it lost


def draw(group: Group, colours: Palette, name: str) -> Drawing | None:
    """A panel for each set, with a point for each cell; ``None`` where nothing is known of a change."""
    panels = [(each, points) for each in group.sets if (points := _points(group, each))]
    if not panels:
        return None
    made = figure(height=0.3 + PANEL_HEIGHT * len(panels))
    drawn = made.subplots(len(panels), 1, squeeze=False)[:, 0]
    marks = Marks()
    for axes, (each, points) in zip(drawn, panels, strict=True):
        _panel(axes, group, each, points)
    made.draw_without_rendering()  # settles the layout, in which labels are placed
    for axes, (each, points) in zip(drawn, panels, strict=True):
        _draw_points(axes, group, each, points, colours, marks)
    return Drawing(name, made, " ".join(_alt(group, *panel) for panel in panels), marks.by_id)


def _points(group: Group, each: SetResults) -> list[Point]:
    found = []
    for row in group.rows:
        gain, loss = gained(group, row), lost(group, each, row)
        if gain is not None and loss is not None:
            found.append((row, gain, loss))
    return found


def _panel(axes: Axes, group: Group, each: SetResults, points: list[Point]) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_xlim(*_range([gain for _, gain, _ in points]))
    axes.set_ylim(*_range([loss for _, _, loss in points]))
    axes.axhline(0, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    axes.axvline(0, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    steering = steering_set(group)
    axes.set_xlabel(f"{quality_name(group)} gained{f' on {steering}' if steering else ''} (better: right)")
    axes.set_ylabel(f"{units.readable(each.quality_name)} lost on {each.title}\n(better: down)")
    quality_axis(axes, each.unit)
    if group.unit == "fraction":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))
    axes.locator_params(axis="x", nbins=6)


def _range(changes: list[Change]) -> tuple[float, float]:
    """The range of all values and ends of intervals, and of 0, where the model before training is."""
    values = [
        0.0,
        *(each.value for each in changes),
        *(end for each in changes for end in each.interval or ()),
    ]
    low, high = min(values), max(values)
    margin = MARGIN * (high - low) or 1.0
    return low - margin, high + margin


def _draw_points(
    axes: Axes, group: Group, each: SetResults, points: list[Point], colours: Palette, marks: Marks
) -> None:
    for row, gain, loss in points:
        colour, x, y = colours[row.cell.method], gain.value, loss.value
        for xs, ys in ((gain.interval, (y, y)), ((x, x), loss.interval)):
            if xs is not None and ys is not None:
                (line,) = axes.plot(xs, ys, color=colour, linewidth=1.6, alpha=0.55, zorder=2)
                marks.add(line, [row.cell])
        (point,) = axes.plot(
            [x], [y], marker="o", linestyle="", markersize=10, markerfacecolor=colour, markeredgecolor=PAPER,
            markeredgewidth=1.5, zorder=5,
        )  # fmt: skip
        marks.add(point, [row.cell], _text(group, each, row, gain, loss))
    labels = [Label(row.name, gain.value, loss.value) for row, gain, loss in points]
    for (row, _, _), artists in zip(points, place(axes, labels, []), strict=True):
        for artist in artists:
            marks.add(artist, [row.cell])


def _text(group: Group, each: SetResults, row: Row, gain: Change, loss: Change) -> str:
    return "\n".join(
        [
            row.display_name,
            f"gained {gain.text(group.unit)} of {quality_name(group)}",
            f"lost {loss.text(each.shown_unit)} on {each.title}",
            f"{each.title}: {units.quality_with_interval(each.quality(row), each.interval(row), each.shown_unit)}",
        ]
    )


def _alt(group: Group, each: SetResults, points: list[Point]) -> str:
    described = "; ".join(
        f"{row.name} gained {units.difference(gain.value, group.unit)} and lost "
        f"{units.difference(loss.value, each.shown_unit)}"
        for row, gain, loss in points
    )
    measure = units.readable(each.quality_name)
    return (
        f"Scatter plot of {quality_name(group)} gained against {measure} lost on {each.title}: {described}."
    )
