"""Labels beside their points, where they cover neither one another nor a point, inside the frame (adjustText)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.plots.style import INK, PAPER

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

POINT_RADIUS, LABELLED_POINT_RADIUS = 4.0, 7.0  # typographic points, as the markers are drawn
# adjustText moves labels in steps until none overlaps. A limit of steps, not of time: the same figure on any machine.
MAX_STEPS = 500


@dataclass(frozen=True)
class Label:
    """A text for the point at (x, y), in data coordinates."""

    text: str
    x: float
    y: float


def place(
    axes: Axes, labels: Sequence[Label], points: Sequence[tuple[float, float]], size: float = 10
) -> list[list[Artist]]:
    """Writes each label near its point, with a thin line to it where the label is farther off.

    ``points``, in data coordinates, are further points that no label should cover. ``size``: of the letters, in
    typographic points. Returns for each label its text, and the line to its point if it has one.
    """
    from adjustText import adjust_text

    if not labels:
        return []
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # settles the layout: before it, data coordinates have no place in the figure
    texts = [_text(axes, label, size) for label in labels]
    targets = [(label.x, label.y) for label in labels]
    obstacles = [_box(axes, point, POINT_RADIUS) for point in points]
    obstacles += [_box(axes, point, LABELLED_POINT_RADIUS) for point in targets]
    _, lines = adjust_text(
        texts,
        objects=obstacles,
        avoid_self=False,  # the labelled points are obstacles already, with their size
        target_x=[x for x, _ in targets],
        target_y=[y for _, y in targets],
        ax=axes,
        expand=(1.05, 1.25),
        force_text=(0.3, 0.4),
        force_static=(0.3, 0.4),
        force_pull=(0.02, 0.02),
        iter_lim=MAX_STEPS,
        min_arrow_len=12,
        arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6},
    )
    return [[text, *(line for line in lines if line.patchA is text)] for text in texts]


def _text(axes: Axes, label: Label, size: float) -> Text:
    from matplotlib import patheffects

    text = axes.text(
        label.x,
        label.y,
        label.text,
        ha="center",
        va="center",
        color=INK,
        fontsize=size,
        fontweight="bold",
        zorder=10,
        path_effects=[patheffects.withStroke(linewidth=3, foreground=PAPER)],
    )
    # A label must not make the layout shrink the axes, for whose present size it is placed.
    text.set_in_layout(False)
    return text


def _box(axes: Axes, point: tuple[float, float], radius: float) -> Bbox:
    """The square around a point, in data coordinates; ``radius`` in typographic points (1/72 inch)."""
    from matplotlib.transforms import Bbox

    figure = axes.get_figure(root=True)
    assert figure is not None
    # By way of pixels, because one radius on paper is two different lengths in data coordinates.
    pixels = radius * figure.dpi / 72
    x, y = axes.transData.transform(point)
    corners = [[x - pixels, y - pixels], [x + pixels, y + pixels]]
    return Bbox(axes.transData.inverted().transform(corners))
