"""The objective against the learning rate, a panel for each cell: trials, the fitted parabola, its optimum."""

from __future__ import annotations

from dataclasses import replace
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from reports import units
from reports.analysis.group import Group
from reports.analysis.quality_names import ObjectiveScale, objective_scale
from reports.analysis.row import Row
from reports.analysis.search.rate_search import RateSearch, rate_search
from reports.plots.drawing import Drawing
from reports.plots.marks import Marks, trial_text
from reports.plots.style import (
    INK,
    LABEL_WIDTH,
    MUTED,
    Palette,
    figure,
    label_rows,
    marker,
    quality_axis,
    status_handles,
    statuses_of,
)
from reports.statistics.response_curve import ResponseCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 2
# Of the words over a panel, by the number of panels side by side: characters in a line.
WORDS_WIDTH = {1: 76, 2: 34}
NAME_WIDTH = {1: 56, 2: 26}  # likewise of its name, in larger and bold letters
LINE_POINTS, NAME_POINTS = 12, 14


def draw(group: Group, colours: Palette, name: str) -> Drawing | None:
    """One panel for each cell whose trials have several learning rates; ``None`` if none has."""
    found = [(row, search) for row in group.rows if (search := rate_search(row.cell)) is not None]
    if not found:
        return None
    scales = [_scale(group, search) for _, search in found]
    # Values of different steps are too far apart for one axis, and panels with two axes are too narrow for their words.
    alike = len({_compared_at(search) for _, search in found}) == 1
    columns = min(COLUMNS if alike else 1, len(found))
    rows = -(-len(found) // columns)
    words = [_words(search, WORDS_WIDTH[columns]) for _, search in found]
    names = [wrap(row.name, NAME_WIDTH[columns]) for row, _ in found]
    points = LINE_POINTS * max(map(len, words)) + NAME_POINTS * (max(map(len, names)) - 1)
    made = figure(height=0.7 + (1.95 + points / 72) * rows)
    grid = made.subplots(rows, columns, sharey=alike, squeeze=False)
    marks = Marks()
    # The grid may have one place more than there are cells; it is removed below.
    for axes, (row, search), scale, name_lines, lines in zip(
        grid.flat, found, scales, names, words, strict=False
    ):
        _head(axes, name_lines, lines)
        _panel(axes, search, colours[row.cell.method], scale)
        _points(axes, group, row, search, scale, marks, colours[row.cell.method])
        _limits(axes, [each for _, each in found] if alike else [search], scale)
    for axes in grid.flat[len(found) :]:
        axes.remove()
    made.supxlabel("learning rate", fontsize=10)
    handles = _legend(found)
    made.legend(
        handles=handles, loc="outside upper left", ncols=3 if len(handles) < 5 else 2, columnspacing=1.2
    )
    label_rows(made, fill(" or ".join(dict.fromkeys(scale.name for scale in scales)), LABEL_WIDTH))
    return Drawing(name, made, _alt(found, scales), marks.by_id)


def _scale(group: Group, search: RateSearch) -> ObjectiveScale:
    """How the values of a search are shown, and the name of what they are: a training loss as a loss."""
    if search.rung is not None and search.rung.compared_by == "training":
        return ObjectiveScale("training loss", sign=-1)
    scale = objective_scale(group)
    return replace(scale, name=f"validation {scale.name}")


def _compared_at(search: RateSearch) -> tuple[int, str] | None:
    return None if search.rung is None else (search.rung.step, search.rung.compared_by)


def _words(search: RateSearch, width: int) -> list[str]:
    """What is said over a panel, in lines."""
    return [line for text in (said(search), _at_rung(search)) for line in wrap(text, width)]


def _head(axes: Axes, name: list[str], lines: list[str]) -> None:
    """The name of the cell above the words about its search, both in lines."""
    words = axes.annotate(
        "\n".join(lines), (0, 1), xycoords="axes fraction", xytext=(0, 5), textcoords="offset points", color=INK,
        fontsize=9,
    )  # fmt: skip
    # Text that is wider than a panel would make all panels narrow. The title's distance keeps the room above.
    words.set_in_layout(False)
    pad = 5 + LINE_POINTS * len(lines)
    axes.set_title("\n".join(name), fontsize=10, fontweight="bold", loc="left", pad=pad)


def _panel(axes: Axes, search: RateSearch, colour: str, scale: ObjectiveScale) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(search.low / 1.15, search.high * 1.15)
    axes.xaxis.set_major_locator(LogLocator(numticks=4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _rate(value, 0)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False, axis="x")
    if search.curve is not None:
        # Beyond the rates that were tried, a parabola says nothing.
        rates = np.geomspace(*search.tried, 200)
        fitted = [scale.shown(search.curve.at(rate)) for rate in rates]
        axes.plot(rates, fitted, color=colour, linewidth=1.6, zorder=2)
    curve = search.curve_with_optimum
    if curve is not None:
        axes.axvline(curve.optimum, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        if search.interval is not None:
            axes.axvspan(*search.interval, color=MUTED, alpha=0.15, linewidth=0, zorder=0)


def _points(
    axes: Axes, group: Group, row: Row, search: RateSearch, scale: ObjectiveScale, marks: Marks, colour: str
) -> None:
    """The trials of a cell."""
    quality_axis(axes, scale.unit)
    for each in search.points:
        style, y = marker(each.record.status, colour), scale.shown(each.value)
        (point,) = axes.plot([each.rate], [y], linestyle="", alpha=0.85, clip_on=False, zorder=3, **style)
        text = trial_text(group, row, each.record)
        if search.rung is not None:
            text += f"\n{scale.name} at step {search.rung.step}: {units.quality(y, scale.unit)}"
        marks.add(point, [row.cell], text)


def _limits(axes: Axes, searches: list[RateSearch], scale: ObjectiveScale) -> None:
    """Those of the trials: a parabola may go far beyond them."""
    values = [scale.shown(point.value) for search in searches for point in search.points]
    low, high = min(values), max(values)
    margin = 0.12 * (high - low or 1.0)
    axes.set_ylim(low - margin, high + margin)


def _at_rung(search: RateSearch) -> str:
    """What the curve goes through where it is not the trials that ran to the end."""
    if search.rung is None:
        return ""
    what = "training loss" if search.rung.compared_by == "training" else "validation rows"
    return f"{what}, step {search.rung.step}, {units.count(len(search.points), 'trial')}"


def said(search: RateSearch) -> str:
    """The optimum with its interval, or why there is none."""
    if search.curve is None:
        return "too few trials for a curve"
    if search.curve_with_optimum is not None:
        return _optimum(search, search.curve_with_optimum)
    if not search.curve.has_maximum:
        return "no optimum: the curve has none"
    low, high = search.tried
    end, rate = ("lowest", low) if search.curve.optimum <= low else ("highest", high)
    return f"at the {end} tried or beyond: {_rate(rate)}"


def _optimum(search: RateSearch, curve: ResponseCurve) -> str:
    """``4.1e-4 (2.4e-4 to 7.3e-4)``."""
    if search.rung is not None:
        return f"{_rate(curve.optimum)} at this step, at the end unknown"
    if search.interval is None:
        return f"{_rate(curve.optimum)} (too few trials for an interval)"
    low, high = map(_rate, search.interval)
    return f"{_rate(curve.optimum)}{'' if curve.is_sure else ', unsure'} ({low} to {high})"


def _rate(value: float, digits: int = 1) -> str:
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _legend(found: list[tuple[Row, RateSearch]]) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    statuses = statuses_of([point.record for _, search in found for point in search.points])
    handles: list[Any] = list(status_handles(statuses))
    if any(search.curve_with_optimum is not None for _, search in found):
        handles.append(
            Line2D([], [], color=INK, linewidth=1.0, linestyle=(0, (4, 3)), label="parabola's optimum")
        )
    if any(search.interval is not None for _, search in found):
        handles.append(Patch(color=MUTED, alpha=0.3, linewidth=0, label="its 95 % interval"))
    return handles


def _alt(found: list[tuple[Row, RateSearch]], scales: list[ObjectiveScale]) -> str:
    described = "; ".join(
        f"{row.name}, {_at_rung(search) or units.count(len(search.points), 'trial')}: {_details(search)}"
        for row, search in found
    )
    what = f"the {' or '.join(dict.fromkeys(scale.name for scale in scales))} against the learning rate"
    return f"Scatter plots of {what}, with fitted parabolas. {described}."


def _details(search: RateSearch) -> str:
    return said(search) if search.curve_with_optimum is None else f"optimum {said(search)}"
