"""Quality against peak memory: every trial, the best of each cell, the front, the untuned model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports import units
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.plots.drawing import Drawing
from reports.plots.labels import Label, place
from reports.plots.marks import Marks, cell_text, trial_text
from reports.plots.overlaps import moved, places, side_by_side
from reports.plots.pareto_axes import legend_handles, note_beyond, set_axes
from reports.plots.style import INK, MUTED, PAPER, Palette, figure, mark_kind, marker, statuses_of
from reports.plots.view import CROWD, View, view
from reports.statistics.rounding import rounded
from reports.units import GIB
from trainables.results import Record

SURE = 0.95  # of resamples in which a cell is on the front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


def draw(group: Group, colours: Palette, name: str) -> Drawing | None:
    """The Pareto figure; ``None`` when no trial has both numbers.

    The front connects the best trials of cells only: a front of all trials would choose trials by the test rows. The
    figure shows the range of the cells; what lies far beyond it, as the untuned model may, is noted at the edge.
    """
    trials = [record for row in group.rows for record in row.cell.records if _measured(record)]
    if not trials or group.metric_record is None:
        return None
    bests = [row for row in group.scored_rows if row.peak is not None]
    shown = _view(group, bests, trials)
    made = figure(height=3.7 + 0.2 * max(0, len(bests) - CROWD + 1))
    axes = made.subplots()
    others = [record for record in trials if not any(_is_point_of(record, row) for row in bests)]
    within = [record for record in others if shown.place(_xy(record)[1]) == 0]
    sure = _surely_on_front(group, bests)
    set_axes(axes, group, shown)
    note_beyond(axes, group, shown, [_xy(record)[1] for record in others])
    _front(axes, [row for row in bests if row.on_front])
    made.legend(
        handles=legend_handles(statuses_of(within), sure, bests),
        loc="outside upper left",
        ncols=3,
        handletextpad=0.4,
        columnspacing=1.4,
    )
    made.draw_without_rendering()  # settles the layout, in which points may coincide
    marks = Marks()
    _points(axes, group, within, colours, marks)
    points = [((row.peak or 0) / GIB, row.quality or 0.0) for row in bests]
    shifts = side_by_side(axes, points)
    for row, shift in zip(bests, shifts, strict=True):
        *interval, point = _best(axes, row, group.interval(row), colours, row in sure, shift)
        marks.add(point, [row.cell], cell_text(group, row))
        for line in interval:
            marks.add(line, [row.cell])
    labels = [
        Label(row.name, *moved(axes, point, shift))
        for row, point, shift in zip(bests, points, shifts, strict=True)
    ]
    size = 8.5 if len(labels) >= CROWD else 10
    for row, artists in zip(bests, place(axes, labels, list(map(_xy, within)), size), strict=True):
        for artist in artists:
            marks.add(artist, [row.cell])
    return Drawing(name, made, _alt(group, bests, len(trials)), marks.by_id)


def _view(group: Group, bests: list[Row], trials: list[Record]) -> View:
    base = group.base.quality if group.base is not None else None
    points = list(map(_xy, trials))
    cells = [((row.peak or 0) / GIB, row.quality or 0.0) for row in bests] or points
    return view(
        [x for x, _ in (*cells, *points)],
        [y for _, y in cells],
        [end for row in bests for end in group.interval(row) or ()],
        [*(y for _, y in points), *([base] if base is not None else [])],
        lower_is_better=not group.higher_is_better,
        share=group.unit == "fraction",
    )


def _is_point_of(record: Record, row: Row) -> bool:
    """Whether a trial is drawn as its cell's large point."""
    if row.best is None or row.best.trial_id != record.trial_id or record.quality is None:
        return False
    return rounded(record.quality) == row.quality


def _surely_on_front(group: Group, bests: list[Row]) -> list[Row]:
    """The cells that are on the front in 95 % of resamples of the test rows; by the front itself without resamples."""
    if group.choice is None:
        return [row for row in bests if row.on_front]
    shares = group.choice.front_shares
    return [row for row in bests if shares.get(row.cell.label, 0.0) >= SURE]


def _measured(record: Record) -> bool:
    return record.peak_bytes is not None and record.quality is not None


def _xy(record: Record) -> tuple[float, float]:
    assert record.peak_bytes is not None
    assert record.quality is not None
    return record.peak_bytes / GIB, record.quality


def _points(axes: Axes, group: Group, trials: list[Record], colours: Palette, marks: Marks) -> None:
    """The other trials; several at the same place are one point, with their number beside it."""
    shown = {id(record) for record in trials}
    placed = [(row, record) for row in group.rows for record in row.cell.records if id(record) in shown]
    for method, kind in sorted({(record.method, mark_kind(record)) for record in trials}):
        alike = [each for each in placed if (each[1].method, mark_kind(each[1])) == (method, kind)]
        for (x, y), members in places(axes, [_xy(record) for _, record in alike]):
            at_place = [alike[index] for index in members]
            cells = [row.cell for row, _ in at_place]
            text = "\n\n".join(trial_text(group, *each) for each in at_place)
            style = marker(kind, colours[method])
            (point,) = axes.plot([x], [y], linestyle="", alpha=0.75, zorder=3, clip_on=False, **style)
            marks.add(point, cells, text)
            if len(members) > 1:
                count = axes.annotate(
                    f"×{len(members)}", (x, y), xytext=(5, -9), textcoords="offset points", color=MUTED, fontsize=8
                )  # fmt: skip
                marks.add(count, cells)


def _best(
    axes: Axes,
    row: Row,
    interval: tuple[float, float] | None,
    colours: Palette,
    surely_on_front: bool,
    shift: float,
) -> list[Line2D]:
    """The point of a cell with its interval, filled where it is surely on the front; ``shift``: to the right, in
    typographic points.
    """
    x, y = moved(axes, ((row.peak or 0) / GIB, row.quality or 0.0), shift)
    colour = colours[row.cell.method]
    drawn: list[Line2D] = []
    if interval:
        low, high = interval
        drawn += axes.plot(
            [x, x], [low, high], color=colour, linewidth=1.6, alpha=0.55, zorder=2, clip_on=False
        )
    style: dict[str, Any] = (
        {"markersize": 11, "markerfacecolor": colour, "markeredgecolor": PAPER, "markeredgewidth": 1.5}
        if surely_on_front
        else {"markersize": 9, "markerfacecolor": PAPER, "markeredgecolor": colour, "markeredgewidth": 2.2}
    )
    return drawn + axes.plot([x], [y], marker="o", linestyle="", zorder=5, clip_on=False, **style)


def _front(axes: Axes, front: list[Row]) -> None:
    """A step line: the best quality for at most this much memory."""
    corners: list[tuple[float, float]] = []
    for row in sorted(front, key=lambda row: row.peak or 0):
        x, y = (row.peak or 0) / GIB, row.quality or 0.0
        # First at the previous height: the line stays level up to this cell's memory, and steps there.
        corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    axes.plot(xs, ys, color=INK, linewidth=1.2, alpha=0.8, zorder=1)


def _alt(group: Group, bests: list[Row], trials: int) -> str:
    assert group.metric_record is not None
    unit, metric = group.metric_record.quality_unit, units.readable(group.metric_record.quality_name)
    described = "; ".join(
        f"{row.name} {units.quality(row.quality, unit)} at {units.gib(row.peak)}"
        f"{', on the front' if row.on_front else ''}"
        for row in bests
    )
    base = (
        f" {group.base.display_name.capitalize()}: {units.quality(group.base.quality, unit)}."
        if group.base
        else ""
    )
    head = f"Scatter plot of {metric} against peak memory, {units.count(trials, 'trial')}."
    return f"{head} Best of each cell: {described or 'none'}.{base}"
