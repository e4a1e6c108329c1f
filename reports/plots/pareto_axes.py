"""What stands around the points of the Pareto figure: axes, notes of what lies beyond them, the legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports import units
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.plots.style import INK, MUTED, PAPER, quality_axis, status_handles
from reports.plots.view import View

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


def set_axes(axes: Axes, group: Group, shown: View) -> None:
    """Ranges, ticks and titles of both axes, and the untuned model as a line where it lies within them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    assert group.metric_record is not None
    if shown.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units.number(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(shown.x)
    axes.set_ylim(shown.y)
    axes.locator_params(axis="x", nbins=7)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("peak memory (GiB)")
    metric = units.readable(group.metric_record.quality_name)
    axes.set_ylabel(f"{metric}{'' if group.higher_is_better else ' (lower is better)'}")
    quality_axis(axes, group.metric_record.quality_unit)
    base = group.base
    if base is not None and base.quality is not None and shown.place(base.quality) == 0:
        axes.axhline(base.quality, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            base.display_name, (1, base.quality), xycoords=("axes fraction", "data"), xytext=(0, 4),
            textcoords="offset points", ha="right", va="bottom", color=MUTED, fontsize=9.5,
        )  # fmt: skip


def note_beyond(axes: Axes, group: Group, shown: View, others: list[float]) -> None:
    """Says at the upper and lower edge what lies beyond them; ``others``: the qualities of the other trials."""
    for side, arrow, y, offset, align in ((1, "↑", 1, -4, "top"), (-1, "↓", 0, 5, "bottom")):
        base = group.base if group.base is not None and group.base.quality is not None else None
        names = []
        if base is not None and shown.place(base.quality or 0.0) == side:
            quality = units.quality(base.quality, group.unit if group.unit == "fraction" else None)
            names.append(f"{base.display_name} {quality}")
        trials = sum(shown.place(quality) == side for quality in others)
        if trials:
            names.append(units.count(trials, "trial"))
        if names:
            axes.annotate(
                f"{arrow} {', '.join(names)}", (1, y), xycoords="axes fraction", xytext=(0, offset),
                textcoords="offset points", ha="right", va=align, color=MUTED, fontsize=9.5,
            )  # fmt: skip


def legend_handles(statuses: list[str], sure: list[Row], bests: list[Row]) -> list[Artist]:
    """An entry for each kind of mark that is drawn; ``sure``: of the cells ``bests``, those surely on the front."""
    from matplotlib.lines import Line2D

    filled: dict[str, Any] = {"markersize": 10, "markerfacecolor": MUTED, "markeredgecolor": PAPER}
    hollow: dict[str, Any] = {"markersize": 8, "markerfacecolor": PAPER, "markeredgecolor": MUTED}
    cells = (
        [Line2D([], [], linestyle="", marker="o", label="cell, surely on the front", **filled)]
        if sure
        else []
    )
    if len(sure) < len(bests):
        label = "cell, not surely on it" if sure else "cell, not surely on the front"
        cells += [Line2D([], [], linestyle="", marker="o", markeredgewidth=2, label=label, **hollow)]
    return [
        *cells,
        *status_handles(statuses),
        Line2D([], [], color=INK, linewidth=1.2, label="Pareto front"),
    ]
