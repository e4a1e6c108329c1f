"""How every figure looks: one colour per method, one marker per status, calm axes; and a drawing's type.

Colours are Okabe and Ito's, made for colour-blind readers ("Color Universal Design", 2008), without the
yellow that vanishes on white; the last two, for sweeps of many methods, are Paul Tol's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from reports import units
from reports.analysis.group import Group
from trainables.results import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The page's theme puts its own colours in the place of these four.
INK, MUTED, RULE, PAPER = "#1f2328", "#656d76", "#d8dee4", "#ffffff"
SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999933", "#aa4499")
KINDS = ("full", "freeze", "lora", "qlora")  # in this order, so that a kind has its colour in every report
MARKERS = {"done": "o", "stopped": "v", "out_of_memory": "X", "failed": "X", "interrupted": "D"}
WIDTH = 5.0  # inches; on a phone's 360 pixels the letters are still 10 high

Palette = dict[str, str]


@dataclass(frozen=True)
class Drawing:
    """A figure, its file's name without suffix, and what it shows in words."""

    name: str
    figure: Figure
    alt: str


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
    """Matplotlib with this report's look, and as it was before afterwards."""
    import matplotlib

    look: dict[str, Any] = {
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same figures on every machine
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
        "svg.fonttype": "none",
        "text.parse_math": False,  # a model may be called $x$
    }
    with matplotlib.rc_context(cast(Any, look)):
        yield


def figure(height: float) -> Figure:
    """An empty figure of the common width, on its own canvas: no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def quality_axis(axes: Axes, unit: str | None) -> None:
    """Percent on the y axis where the quality is a fraction."""
    from matplotlib.ticker import FuncFormatter

    if unit == "fraction":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))


def objective_axis(axes: Axes, group: Group) -> None:
    """The objective on the y axis, in percent where it is the quality's own metric on the validation rows."""
    axes.set_ylabel(objective_words(group))
    if group.scored is not None and objective_names(group) == [group.scored.quality_name]:
        quality_axis(axes, group.scored.quality_unit)


def objective_names(group: Group) -> list[str]:
    names = (record.objective_name for row in group.rows for record in row.cell.records)
    return list(dict.fromkeys(name for name in names if name))


def objective_words(group: Group) -> str:
    """What the search steered by: ``validation exact match``."""
    names = objective_names(group)
    return f"validation {units.words(names[0])}" if len(names) == 1 else "validation objective"


def method_handles(methods: Sequence[str], colours: Palette) -> list[Any]:
    """Legend entries that say which colour is which method."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=colours[method], linewidth=2.5, label=method) for method in methods]


def status_handles(statuses: Sequence[str]) -> list[Any]:
    """Legend entries that say which marker is which status."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], linestyle="", color=MUTED, **marker(status, MUTED), label=status_words(status))
        for status in statuses
    ]


def marker(status: str, colour: str) -> dict[str, Any]:
    """A point's look: filled when the trial is done, hollow otherwise."""
    return {
        "marker": MARKERS[status],
        "markersize": 6,
        "markerfacecolor": colour if status == "done" else PAPER,
        "markeredgecolor": colour,
        "markeredgewidth": 1.3,
    }


def statuses_of(records: Sequence[Record]) -> list[str]:
    """The statuses that occur, done first."""
    return [status for status in MARKERS if any(record.status == status for record in records)]


def status_words(status: str) -> str:
    return {"stopped": "stopped early"}.get(status, units.words(status))
