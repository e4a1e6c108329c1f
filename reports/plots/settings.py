"""The objective against the value of each searched setting: one panel for each setting, one point for each trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reports import units
from reports.analysis.configs import leaves
from reports.analysis.group import Group
from reports.analysis.quality_names import ObjectiveScale, objective_scale
from reports.analysis.row import Row
from reports.plots.drawing import Drawing
from reports.plots.marks import Marks, trial_text
from reports.plots.overlaps import moved, side_by_side
from reports.plots.style import (
    Palette,
    figure,
    label_rows,
    marker,
    method_handles,
    objective_label,
    quality_axis,
    status_handles,
    statuses_of,
)
from trainables.results import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

COLUMNS = 3
Point = tuple[Any, Row, Record]  # the setting's value, the trial's cell, the trial
SIDE_STEP = 5.0  # typographic points between trials at one place


def draw(group: Group, colours: Palette, name: str) -> Drawing | None:
    """One panel for each setting; ``None`` if none differs between trials that have an objective."""
    panels = {path: _points(group, path) for path in group.searched}
    panels = {path: points for path, points in panels.items() if _differ(points)}
    if not panels:
        return None
    scale = objective_scale(group)
    rows = -(-len(panels) // COLUMNS)
    columns = min(COLUMNS, len(panels))
    made = figure(height=0.7 + 2.35 * rows)
    grid = made.subplots(rows, columns, sharey=True, squeeze=False)
    drawn: list[list[Line2D]] = []
    # The grid is (rows, columns), and its last row may have places left, which are removed below.
    for axes, (path, points) in zip(grid.flat, panels.items(), strict=False):
        drawn.append(_panel(axes, path, points, colours, scale))
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for axes in grid[:, 0]:
        quality_axis(axes, scale.unit)
    made.legend(
        handles=_legend(list(panels.values()), colours), loc="outside upper left", ncols=4, columnspacing=1.2
    )
    label_rows(made, objective_label(group))
    marks = Marks()
    for axes, lines, points in zip(grid.flat, drawn, panels.values(), strict=False):
        _apart(axes, lines)
        for line, (_, row, record) in zip(lines, points, strict=True):
            marks.add(line, [row.cell], trial_text(group, row, record))
    return Drawing(name, made, _alt(panels, scale), marks.by_id)


def _points(group: Group, path: str) -> list[Point]:
    points: list[Point] = []
    for row in group.rows:
        for record in row.cell.search_trials if path in row.cell.varied else ():
            config = dict(leaves(record.config))
            if record.comparable_objective is not None and path in config:
                points.append((config[path], row, record))
    return points


def _differ(points: list[Point]) -> bool:
    return len({value_key(value) for value, _, _ in points}) > 1


def _panel(
    axes: Axes, path: str, points: list[Point], colours: Palette, scale: ObjectiveScale
) -> list[Line2D]:
    """The points of one setting, each as a line of its own."""
    lines = []
    place = _scale(axes, [value for value, _, _ in points])
    for value, _, record in points:
        style = marker(record.status, colours[record.method])
        x, y = place[value_key(value)], scale.shown(record.objective or 0.0)
        lines += axes.plot([x], [y], linestyle="", alpha=0.85, clip_on=False, zorder=3, **style)
    axes.margins(0.1)
    axes.set_xlabel(units.setting_name(path))
    return lines


def _apart(axes: Axes, lines: list[Line2D]) -> None:
    """Draws points at one place side by side."""
    points = [
        (float(np.asarray(x)[0]), float(np.asarray(y)[0])) for x, y in (line.get_data() for line in lines)
    ]
    limits = axes.get_xlim()
    for line, point, shift in zip(lines, points, side_by_side(axes, points, SIDE_STEP), strict=True):
        line.set_xdata([moved(axes, point, shift)[0]])
    axes.set_xlim(limits)


def value_key(value: Any) -> Any:
    """The value as a key of a dict: a list or an empty mapping as its JSON."""
    return units.setting_value(value) if isinstance(value, list | dict) else value


def _scale(axes: Axes, values: list[Any]) -> dict[Any, float]:
    """The position of each value on the x axis: choices evenly spaced, wide ranges of numbers on a log axis."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    distinct = list(dict.fromkeys(map(value_key, values)))
    few_integers = len(distinct) <= 6 and all(isinstance(value, int) for value in distinct)
    # Few integers (ranks, say) are evenly spaced too, like choices.
    if few_integers or any(value is None or isinstance(value, str | bool) for value in distinct):
        # null, then numbers, then texts: Python can't compare one with the other.
        order = sorted(distinct, key=lambda v: (v is not None, isinstance(v, str), 0 if v is None else v))
        names = [units.setting_value(value) for value in order]
        tilt: dict[str, Any] = {"rotation": 25, "ha": "right"} if max(map(len, names)) > 5 else {}
        axes.set_xticks(range(len(order)), names, **tilt)
        return {value: float(position) for position, value in enumerate(order)}
    if min(distinct) > 0 and max(distinct) / min(distinct) >= 10:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: units.setting_value(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        # Numbers with many digits would run into one another in a panel of an inch.
        axes.locator_params(axis="x", nbins=4 if min(distinct) >= 0.1 else 2)
    return {value: float(value) for value in distinct}


def _legend(panels: list[list[Point]], colours: Palette) -> list[Any]:
    records = [record for points in panels for _, _, record in points]
    methods = [method for method in colours if any(record.method == method for record in records)]
    statuses = statuses_of(records)
    return method_handles(methods, colours) + (status_handles(statuses) if len(statuses) > 1 else [])


def _alt(panels: dict[str, list[Point]], scale: ObjectiveScale) -> str:
    described = " ".join(_described(path, points, scale) for path, points in panels.items())
    return f"Scatter plots of the validation {scale.name}. {described}"


def _described(path: str, points: list[Point], scale: ObjectiveScale) -> str:
    value, _, record = max(points, key=lambda point: point[2].objective or 0.0)
    tried = units.count(len(points), "trial")
    best = f"the best, {units.number(scale.shown(record.objective or 0.0))}, at {units.setting_value(value)}"
    return f"Against {units.setting_name(path)}, {tried}: {best} ({record.method})."
