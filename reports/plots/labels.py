"""Labels beside their points, where they cover neither each other, a point, nor the frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.plots.style import INK, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.path import Path
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

# Right of the point first, then left, above and below it, then farther off; in points.
_OFFSETS = [
    (far * x, far * y)
    for far in (1, 2, 3.2)
    for x, y in ((11, 0), (-11, 0), (11, -11), (11, 11), (-11, -11), (-11, 11), (0, 14), (0, -14))
]


@dataclass(frozen=True)
class Label:
    text: str
    x: float
    y: float


def place(axes: Axes, labels: Sequence[Label], points: Sequence[tuple[float, float]], line: Line2D) -> None:
    """Writes each label at the first free place around its point, or else at the least crowded one.

    ``points``, in data coordinates, and ``line`` are what no label should cover.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # settles the layout, so that pixels mean something
    frame = axes.get_window_extent()
    dots = [tuple(axes.transData.transform(point)) for point in points]
    path = line.get_transform().transform_path(line.get_path())
    taken: list[Bbox] = []
    for label in labels:
        tries = [_annotate(axes, label, offset) for offset in _OFFSETS]
        boxes = [text.get_window_extent().padded(2) for text in tries]
        costs = [_crowding(box, taken, dots, path, frame) for box in boxes]
        chosen = costs.index(min(costs))
        taken.append(boxes[chosen])
        for position, text in enumerate(tries):
            if position != chosen:
                text.remove()


def _annotate(axes: Axes, label: Label, offset: tuple[float, float]) -> Annotation:
    from matplotlib import patheffects

    x, y = offset
    text = axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=offset,
        textcoords="offset points",
        ha="left" if x > 0 else "right" if x < 0 else "center",
        va="center",
        color=INK,
        fontsize=10,
        fontweight="bold",
        zorder=10,
        # A thin line back to the point where the label had to move away from it.
        arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6} if max(abs(x), abs(y)) > 20 else None,
        path_effects=[patheffects.withStroke(linewidth=3, foreground=PAPER)],
    )
    text.set_in_layout(False)
    return text


def _crowding(
    box: Bbox, taken: list[Bbox], dots: list[tuple[float, float]], path: Path, frame: Bbox
) -> float:
    overlaps = sum(box.overlaps(other) for other in taken)
    covered = sum(box.contains(x, y) for x, y in dots)
    # A label close to another's point would seem to be that point's.
    near = sum(box.padded(6).contains(x, y) for x, y in dots)
    outside = box.x0 < frame.x0 or box.x1 > frame.x1 or box.y0 < frame.y0 or box.y1 > frame.y1
    crossed = path.intersects_bbox(box, filled=False)
    return 100 * overlaps + 50 * outside + 20 * covered + 3 * near + 2 * crossed
