"""The Pareto front of quality against memory: the choices that are worth their cost.

A point is on the front when no other is at least as good in both and better in one (Pareto dominance; Deb,
"Multi-Objective Optimization using Evolutionary Algorithms", 2001, definition 2.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EQUAL_PEAKS = 0.02  # how well a measurement of memory repeats


@dataclass(frozen=True)
class Point:
    """The cost of one choice (lower is better) and its quality; ``None`` is "not measured"."""

    name: str
    cost: float | None
    quality: float | None

    @property
    def measured(self) -> bool:
        return self.cost is not None and self.quality is not None


def dominates(point: Point, other: Point, higher_is_better: bool) -> bool:
    """Whether ``point`` is at least as good as ``other`` in both and better in one. Costs within 2 % are equal.

    >>> dominates(Point("lora", 1.0, 0.97), Point("full", 2.5, 0.97), higher_is_better=True)
    True
    """
    assert point.cost is not None
    assert point.quality is not None
    assert other.cost is not None
    assert other.quality is not None
    sign = 1 if higher_is_better else -1
    gain = sign * (point.quality - other.quality)
    costs_less = point.cost < other.cost * (1 - EQUAL_PEAKS)
    costs_more = point.cost > other.cost * (1 + EQUAL_PEAKS)
    return gain >= 0 and not costs_more and (gain > 0 or costs_less)


def front(points: Sequence[Point], higher_is_better: bool = True) -> list[Point]:
    """The points that nothing dominates, cheapest first; points equal in both are all kept.

    Points without a cost or a quality are left out.

    >>> points = [Point("full", 2.5, 0.98), Point("lora", 1.0, 0.97), Point("int8", 1.1, 0.96)]
    >>> [point.name for point in front(points)]
    ['lora', 'full']
    """
    measured = [point for point in points if point.measured]
    kept = [
        point
        for point in measured
        if not any(dominates(other, point, higher_is_better) for other in measured)
    ]
    return sorted(kept, key=lambda point: (point.cost or 0.0, point.name))
