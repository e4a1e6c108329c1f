"""Which part of quality and memory a Pareto figure shows: that of the trained cells, so that differences show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

LOG_RATIO = 8.0  # between the largest and the smallest loss, from which an axis is logarithmic
MARGIN = 0.12  # of the range, at both of its ends
NEAR = 0.35  # of the range: what lies no farther beyond it is shown, too
LEAST_SHARE = 0.2  # of the largest memory that the figure is wide at least
CROWD = 7  # cells, from which the axis of the memory need not begin at 0


@dataclass(frozen=True)
class View:
    """The limits of both axes; ``logarithmic``: the axis of the quality."""

    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool = False

    def place(self, quality: float) -> int:
        """-1 for a quality below the limits, 1 for one above them, 0 within."""
        low, high = self.y
        return -1 if quality < low else 1 if quality > high else 0


def view(
    memory: Sequence[float],
    qualities: Sequence[float],
    ends: Sequence[float],
    others: Sequence[float],
    *,
    lower_is_better: bool,
    share: bool,
) -> View:
    """The view of cells with these peaks, ``qualities`` and ``ends`` of intervals; none of the first two is empty.

    ``others``: qualities of other trials and of the model before training, which are shown where they are near.
    ``share``: the quality can't go beyond 0 and 1.
    """
    positive = min([*qualities, *ends]) > 0
    logarithmic = lower_is_better and positive and max(qualities) / min(qualities) >= LOG_RATIO
    low, high = _limits([*qualities, *ends], [v for v in others if v > 0 or not logarithmic], logarithmic)
    if share:
        low, high = max(low, -0.03), min(high, 1.03)
    return View(_memory_limits(memory, crowded=len(qualities) >= CROWD), (low, high), logarithmic)


def _limits(values: Sequence[float], others: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    scaled = [log(value) if logarithmic else value for value in values]
    low, high = min(scaled), max(scaled)
    span = high - low or abs(high) * 0.2 or 1.0
    near = [log(value) if logarithmic else value for value in others]
    shown = [value for value in near if low - NEAR * span <= value <= high + NEAR * span]
    low, high = min([low, *shown]), max([high, *shown])
    margin = MARGIN * (high - low or span)
    ends = low - margin, high + margin
    return (exp(ends[0]), exp(ends[1])) if logarithmic else ends


def _memory_limits(memory: Sequence[float], *, crowded: bool) -> tuple[float, float]:
    """From 0, so that half the distance is half the memory, unless cells would hide one another."""
    low, high = min(memory), max(memory)
    margin = MARGIN * max(high - low, LEAST_SHARE * high)
    if low < 0.5 * high and not crowded:
        return 0.0, high + margin
    missing = max(0.0, LEAST_SHARE * high - (high - low)) / 2
    # On the left, labels of many cells need room.
    return low - missing - (1.8 if crowded else 1) * margin, high + missing + margin
