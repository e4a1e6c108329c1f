"""How sure the measures of a result are, and whether two results differ: intervals, tests, a sentence that says so.

The statistics are handed over by whoever may know them (``reports.analysis.uncertainty``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trainables.scoring.measures import FRACTION, Measure, Measured

LEVEL = 0.05
MIN_ROWS = 6  # rows: of fewer, even all alike say nothing at that level (2 / 2^5 = 0.06, the sign test)
Interval = tuple[float, float]


class Statistics(Protocol):
    """What is needed of ``reports.analysis.uncertainty``."""

    def wilson(self, proportion: float, count: int) -> Interval: ...

    def area(self, auc: float, good: int, bad: int) -> Interval: ...

    def mcnemar(self, one_only: int, other_only: int) -> float: ...

    def bootstrap(self, values: Sequence[float], weights: Sequence[float]) -> Interval: ...

    def paired_difference(
        self,
        one: Sequence[float],
        one_weights: Sequence[float],
        other: Sequence[float],
        other_weights: Sequence[float],
    ) -> Interval: ...

    def drawn(self, rows: int, of: Callable[[Any], float]) -> Interval: ...

    def drawn_difference(
        self, rows: int, one: Callable[[Any], float], other: Callable[[Any], float]
    ) -> Interval: ...


@dataclass(frozen=True)
class Difference:
    """One measure of two results over the same rows. ``p`` is McNemar's, where each row is right or wrong."""

    measure: Measure
    other: float
    low: float
    high: float
    rows: int
    p: float | None = None

    @property
    def difference(self) -> float:
        return self.measure.value - self.other

    @property
    def settled(self) -> bool:
        if self.rows < MIN_ROWS:
            return False
        return self.p < LEVEL if self.p is not None else self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, Any]:
        found = {"difference": self.difference, "low": self.low, "high": self.high, "rows": self.rows}
        return found | {"mcnemar_p": self.p, "settled": self.settled}


def interval(measure: Measure, by: Statistics) -> Interval | None:
    """The 95 % interval: Wilson's of a share of rows, Newcombe's of an area under a curve, else a bootstrap over rows;
    ``None`` where these tell nothing.
    """
    if measure.whole is not None and measure.whole.ranked is not None:
        return by.area(measure.value, *measure.whole.ranked)
    if measure.whole is not None:
        return by.drawn(measure.whole.count, measure.whole.of)
    values, weights = measure.counted
    if not values:
        return None
    if measure.unit == FRACTION and all(value in (0.0, 1.0) for value in values):
        return by.wilson(sum(values) / len(values), len(values))
    low, high = by.bootstrap(values, weights)
    return (math.exp(min(low, 700)), math.exp(min(high, 700))) if measure.exponential else (low, high)


def differences(one: Measured, other: Measured, by: Statistics) -> list[Difference]:
    """Of every measure that rows have in both. A loss by tokens is one only where both count the same tokens."""
    theirs = {each.name: each for each in other.measures}
    pairs = [(each, theirs[each.name]) for each in one.measures if each.name in theirs]
    return [
        found
        for mine, its in pairs
        if (found := _difference(mine, its, by)) is not None and _alike(mine, its)
    ]


def _alike(one: Measure, other: Measure) -> bool:
    return "token" not in one.unit or one.weights == other.weights


def _difference(one: Measure, other: Measure, by: Statistics) -> Difference | None:
    if one.whole is not None and other.whole is not None:
        low, high = by.drawn_difference(one.whole.count, one.whole.of, other.whole.of)
        return Difference(one, other.value, low, high, one.whole.count)
    if one.by_row is None or other.by_row is None or one.exponential:
        return None
    count = len(one.by_row)
    columns = one.by_row, other.by_row, one.weights or [1.0] * count, other.weights or [1.0] * count
    rows = [row for row in zip(*columns, strict=True) if row[0] is not None and row[1] is not None]
    if not rows:
        return None
    mine, theirs, weights, their_weights = ([float(row[place] or 0) for row in rows] for place in range(4))
    low, high = by.paired_difference(mine, weights, theirs, their_weights)
    p, both = None, (*mine, *theirs)
    if all(value in (0.0, 1.0) for value in both) and (one.unit == FRACTION or any(both)):
        pairs = list(zip(mine, theirs, strict=True))
        p = by.mcnemar(pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0)))
    return Difference(one, other.value, low, high, len(rows), p)


def deciding_difference(found: Sequence[Difference], *wanted: str) -> Difference | None:
    """The difference that decides: of the first ``wanted`` measure that is there, else what comes nearest to it."""
    by_name = {each.measure.name: each for each in found}
    for name in (*wanted, "bits_per_byte", "loss"):
        if name in by_name:
            return by_name[name]
    return found[0] if found else None


def verdict(found: Difference, one: str, other: str) -> str:
    """Which is better, or that they can't be told apart, and by what."""
    measure, name = found.measure, found.measure.name.replace("_", " ")
    figures = (
        f"{format_value(measure.value, measure.unit)} against {format_value(found.other, measure.unit)}, difference "
        f"{format_value(found.difference, measure.unit)} (95 % interval {format_value(found.low, measure.unit)} to "
        f"{format_value(found.high, measure.unit)}{_p(found)}, {found.rows} rows)"
    )
    if not found.settled:
        few = f"so few rows, by {name}" if found.rows < MIN_ROWS else name
        return f"{one} and {other} can't be told apart by {few}: {figures}."
    higher = found.difference > 0
    better = one if higher == measure.higher_is_better else other
    worse = other if better == one else one
    return f"{better} is better than {worse} by {name}: {figures}."


def _p(found: Difference) -> str:
    return f"; McNemar's p = {found.p:.2g}" if found.p is not None else ""


def format_value(value: float | None, unit: str = "") -> str:
    """A number for people; a share of rows in percent."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if unit == FRACTION else f"{value:.4g}"
