"""Points of a figure that coincide: drawn side by side, or as one point with their number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import hypot
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]  # in data coordinates
TOUCHING = 4.5  # typographic points (1/72 inch) between the centres of points that hide one another
SAME = 2.0  # between points that can't be told apart at all
STEP = 9.0  # between points that are drawn side by side


def side_by_side(axes: Axes, points: Sequence[Point], step: float = STEP) -> list[float]:
    """How far to the right each point is drawn, in typographic points, so that none hides another."""
    shifts = [0.0] * len(points)
    for members in _clusters(axes, points, TOUCHING):
        for position, index in enumerate(members):
            shifts[index] = (position - (len(members) - 1) / 2) * step
    return shifts


def places(axes: Axes, points: Sequence[Point]) -> Iterable[tuple[Point, list[int]]]:
    """The places of the points, with the indices of the points at each."""
    return [(points[members[0]], members) for members in _clusters(axes, points, SAME)]


def moved(axes: Axes, point: Point, shift: float) -> Point:
    """A point's data coordinates, ``shift`` typographic points further right."""
    if not shift:
        return point
    figure = axes.get_figure(root=True)
    assert figure is not None
    x, y = axes.transData.transform(point)
    x, y = axes.transData.inverted().transform((x + shift * figure.dpi / 72, y))
    return float(x), float(y)


def _clusters(axes: Axes, points: Sequence[Point], distance: float) -> list[list[int]]:
    """The indices of points that are no farther than this from the first of their cluster, from left to right."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    placed = [tuple(axes.transData.transform(point) * 72 / figure.dpi) for point in points]
    found: list[list[int]] = []
    for index in sorted(range(len(points)), key=lambda index: (placed[index], index)):
        x, y = placed[index]
        near = (each for each in found if hypot(placed[each[0]][0] - x, placed[each[0]][1] - y) < distance)
        cluster = next(near, None)
        if cluster is None:
            found.append([index])
        else:
            cluster.append(index)
    return found
