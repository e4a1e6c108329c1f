"""The style that all figures share: one colour per method, one marker per status, plain axes.

The colours are those of Okabe and Ito, chosen for colour-blind readers ("Color Universal Design", 2008), without the
yellow that can't be seen on white. The others are for sweeps of many methods: two of Paul Tol's, and four that are seen
on white and on black.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import TYPE_CHECKING, Any, cast

from reports import units
from reports.analysis.configs import leaves
from reports.analysis.group import Group
from reports.analysis.quality_names import objective_scale
from trainables.results import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In figures on the page, the page's theme replaces these four colours.
INK, MUTED, RULE, PAPER = "#1f2328", "#656d76", "#d8dee4", "#ffffff"
SERIES = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999933", "#aa4499"),
    *("#9170e0", "#a6761d", "#44aa99", "#e0607e"),
)
# In this order, so that a kind of method has the same colour in every report.
KINDS = ("full", "freeze", "lora", "qlora")
MARKERS = {"done": "o", "added": "s", "stopped": "v", "out_of_memory": "X", "failed": "X", "interrupted": "D"}
LABEL_WIDTH = 26  # characters of a line of an axis title
WIDTH = 5.0  # inches; scaled to a phone's 360 pixels, letters are still 10 pixels high

Palette = dict[str, str]


def palette(groups: Sequence[Group]) -> Palette:
    """A colour for each method, the same in every figure of a report; grey for the base model."""
    kinds = {row.cell.method: _kind(row.cell.records[0]) for group in groups for row in group.rows}
    order = sorted(kinds, key=lambda method: (_rank(kinds[method]), method))
    colours = {method: SERIES[position % len(SERIES)] for position, method in enumerate(order)}
    return colours | {row.cell.method: MUTED for group in groups for row in group.bases}


def _kind(record: Record) -> str:
    method = record.config.get("method")
    return str(method.get("kind", record.method)) if isinstance(method, dict) else record.method


def _rank(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


@contextmanager
def styled() -> Iterator[None]:
    """Applies the report's style to Matplotlib, and restores the previous one afterwards."""
    import matplotlib

    style: dict[str, Any] = {
        "font.family": "DejaVu Sans",  # comes with Matplotlib, so figures are the same on every machine
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "figure.facecolor": PAPER,
        "axes.facecolor": PAPER,
        # Texts stay texts in an SVG, not outlines, so that a page can set its own font.
        "svg.fonttype": "none",
        "text.parse_math": False,  # a model may be called $x$
    }
    with matplotlib.rc_context(cast(Any, style)):
        yield


def figure(height: float) -> Figure:
    """An empty figure of the common width; ``height`` in inches. It has its own canvas, so no state is global."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def label_rows(made: Figure, text: str) -> None:
    """The title of the vertical axis that all panels share, beside their middle: legends stand above them."""
    label = made.supylabel(text, fontsize=10)
    made.draw_without_rendering()  # settles the layout, before which panels have no place
    places = [axes.get_position() for axes in made.axes]
    label.set_y((min(place.y0 for place in places) + max(place.y1 for place in places)) / 2)


def quality_axis(axes: Axes, unit: str | None) -> None:
    """Labels the y axis in percent if the quality is a fraction."""
    from matplotlib.ticker import FuncFormatter

    if unit == "fraction":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))


def objective_label(group: Group) -> str:
    """The name of what steers the search: ``validation exact match``. A long one has several lines, as it stands beside
    a panel of two inches.
    """
    return fill(f"validation {objective_scale(group).name}", LABEL_WIDTH)


def method_handles(methods: Sequence[str], colours: Palette) -> list[Any]:
    """Legend entries for the colours of methods."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=colours[method], linewidth=2.5, label=method) for method in methods]


def status_handles(statuses: Sequence[str]) -> list[Any]:
    """Legend entries for the markers of statuses."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], linestyle="", color=MUTED, **marker(status, MUTED), label=status_text(status))
        for status in statuses
    ]


def mark_kind(record: Record) -> str:
    """What the marker of a trial shows: its status, or that it was added by hand and ran to the end."""
    return "added" if record.role == "added" and record.status == "done" else record.status


def marker(kind: str, colour: str) -> dict[str, Any]:
    """The marker of a trial by its kind: filled if it ran to the end, hollow otherwise."""
    return {
        "marker": MARKERS[kind],
        "markersize": 6,
        "markerfacecolor": colour if kind in ("done", "added") else PAPER,
        "markeredgecolor": colour,
        "markeredgewidth": 1.3,
    }


def statuses_of(records: Sequence[Record]) -> list[str]:
    """The kinds of markers that occur in the records, ``done`` first."""
    return [kind for kind in MARKERS if any(mark_kind(record) == kind for record in records)]


def status_text(status: str) -> str:
    """A status in words."""
    return {"stopped": "stopped early", "added": "added by hand"}.get(status, units.readable(status))


def ending_text(record: Record) -> str:
    """The status of a trial in words, and that it was a person who stopped it, or that it was done early."""
    if record.ended_early:
        return "done early"
    return "stopped by hand" if record.stopped_by_hand else status_text(record.status)


def steps_text(record: Record) -> str | None:
    """``40 of 100``: how many of its steps a trial made; ``None`` where that is not recorded."""
    total = dict(leaves(record.config)).get("train.steps")
    return f"{record.steps}{f' of {total}' if total else ''}" if record.steps is not None else None


def role_text(record: Record) -> str:
    """What follows the status or the id of a trial outside of the search: one that trained a cell's best configuration
    again, or that was added by hand.
    """
    if record.role == "added":
        return ", added by hand"
    return f", finalist (seed {record.seed})" if record.role == "finalist" else ""
