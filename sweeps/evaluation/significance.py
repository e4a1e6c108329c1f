"""Confidence intervals of a result's measures, and whether two results differ significantly: tests and a sentence.

The statistics (``reports.statistics.measure_intervals``) are passed in, because this package must not import reports.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sweeps.evaluation.independent_rows import by_prompt
from trainables.scoring.measures import FRACTION, Measure, MeasuredRows

LEVEL = 0.05  # of significance
MIN_ROWS = 6  # fewer are never significant: in a sign test, 5 rows that all agree have p = 2 / 2^5 = 0.06
Interval = tuple[float, float]


class Statistics(Protocol):
    """What is needed of ``reports.statistics.measure_intervals``."""

    def wilson(self, proportion: float, count: int) -> Interval: ...

    def auc_interval(self, auc: float, good: int, bad: int) -> Interval: ...

    def mcnemar(self, one_only: int, other_only: int) -> float: ...

    def mean_interval(self, values: Sequence[float], weights: Sequence[float]) -> Interval: ...

    def paired_difference(
        self,
        one: Sequence[float],
        one_weights: Sequence[float],
        other: Sequence[float],
        other_weights: Sequence[float],
    ) -> Interval: ...

    def measure_interval(self, rows: int, measure: Callable[[Any], float]) -> Interval: ...

    def paired_measure_difference(
        self, rows: int, one: Callable[[Any], float], other: Callable[[Any], float]
    ) -> Interval: ...


@dataclass(frozen=True)
class Difference:
    """One measure of two results over the same ``rows``: ``measure`` of the first and the ``other``'s value.

    ``low`` to ``high``: the 95 % interval of the difference, infinite where there are too few rows for one. ``p``:
    McNemar's p-value, for measures by which each row is either right or wrong. ``prompts``: how many the rows have,
    where several share one.
    """

    measure: Measure
    other: float
    low: float
    high: float
    rows: int
    p: float | None = None
    prompts: int | None = None

    @property
    def independent_rows(self) -> int:
        return self.rows if self.prompts is None else self.prompts

    @property
    def difference(self) -> float:
        return self.measure.value - self.other

    @property
    def settled(self) -> bool:
        """Whether the difference is significant."""
        if self.independent_rows < MIN_ROWS:
            return False
        return self.p < LEVEL if self.p is not None else self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, Any]:
        return {
            "difference": self.difference,
            "low": self.low if math.isfinite(self.low) else None,
            "high": self.high if math.isfinite(self.high) else None,
            "rows": self.rows,
            "prompts": self.independent_rows,
            "mcnemar_p": self.p,
            "settled": self.settled,
        }


def interval(
    measure: Measure, statistics: Statistics, clusters: Sequence[int] | None = None
) -> Interval | None:
    """The 95 % interval of a measure: Wilson's for a share of rows, Newcombe's for an area under a curve, else by a
    bootstrap over rows; ``None`` for a measure without values by row, and where there are too few rows for an interval.

    ``clusters``: what rows share that are not independent (``MeasuredRows``); these count as one.
    """
    measure = by_prompt(measure, clusters)
    if measure.corpus is not None and measure.corpus.auc_counts is not None:
        return statistics.auc_interval(measure.value, *measure.corpus.auc_counts)
    if measure.corpus is not None:
        return statistics.measure_interval(measure.corpus.count, measure.corpus.compute)
    values, weights = measure.counted
    if not values:
        return None
    if measure.unit == FRACTION and all(value in (0.0, 1.0) for value in values):
        share = sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
        return statistics.wilson(share, len(values))
    # The values of a perplexity are the losses of its rows; e to the power of more than 709 overflows.
    low, high = statistics.mean_interval(values, weights)
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    return (math.exp(min(low, 700)), math.exp(min(high, 700))) if measure.exponential else (low, high)


def differences(one: MeasuredRows, other: MeasuredRows, statistics: Statistics) -> list[Difference]:
    """The difference in every measure that both have by row. A loss per token is comparable only if both results split
    the rows into the same numbers of tokens.
    """
    theirs = {each.name: each for each in other.measures}
    pairs = [(each, theirs[each.name]) for each in one.measures if each.name in theirs]
    return [
        difference
        for ours, its in pairs
        if ("token" not in ours.unit or ours.weights == its.weights)
        and (difference := _difference(ours, its, statistics, one.clusters)) is not None
    ]


def _difference(
    one: Measure, other: Measure, statistics: Statistics, clusters: Sequence[int] | None
) -> Difference | None:
    if clusters is None:
        return _compared(one, other, statistics)
    found = _compared(by_prompt(one, clusters), by_prompt(other, clusters), statistics)
    return found and replace(found, rows=_count(one, other, len(clusters)), prompts=found.rows)


def _count(one: Measure, other: Measure, rows: int) -> int:
    """The number of rows by which two measures are compared."""
    if one.by_row is None or other.by_row is None:
        return rows
    return sum(None not in pair for pair in zip(one.by_row, other.by_row, strict=True))


def _compared(one: Measure, other: Measure, statistics: Statistics) -> Difference | None:
    if one.corpus is not None and other.corpus is not None:
        low, high = statistics.paired_measure_difference(
            one.corpus.count, one.corpus.compute, other.corpus.compute
        )
        return Difference(one, other.value, low, high, one.corpus.count)
    # A perplexity says nothing more than its loss, which has a difference of its own.
    if one.by_row is None or other.by_row is None or one.exponential:
        return None
    count = len(one.by_row)
    # Each row is (value, other value, weight, other weight); rows count only where both have a value.
    columns = one.by_row, other.by_row, one.weights or [1.0] * count, other.weights or [1.0] * count
    rows = [row for row in zip(*columns, strict=True) if row[0] is not None and row[1] is not None]
    if not rows:
        return None
    ours, theirs, weights, their_weights = ([float(row[column] or 0) for row in rows] for column in range(4))
    low, high = statistics.paired_difference(ours, weights, theirs, their_weights)
    p, both = None, (*ours, *theirs)
    # Not for a measure that happens to be 0 in all rows.
    if all(value in (0.0, 1.0) for value in both) and (one.unit == FRACTION or any(both)):
        pairs = list(zip(ours, theirs, strict=True))
        # Only the rows in which one result alone is right tell the two apart.
        p = statistics.mcnemar(pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0)))
    return Difference(one, other.value, low, high, len(rows), p)


def deciding_difference(differences: Sequence[Difference], *preferred: str) -> Difference | None:
    """The difference that decides which result is better: in the first of the ``preferred`` measures that exists, else
    in bits per byte, the loss, or any measure.
    """
    by_name = {each.measure.name: each for each in differences}
    for name in (*preferred, "bits_per_byte", "loss"):
        if name in by_name:
            return by_name[name]
    return differences[0] if differences else None


def verdict(difference: Difference, one: str, other: str) -> str:
    """A sentence that says which result is better, or that they can't be told apart, and by which measure."""
    measure, name = difference.measure, difference.measure.name.replace("_", " ")
    values = [measure.value, difference.other, difference.difference, difference.low, difference.high]
    ours, theirs, gap, low, high = (format_value(value, measure.unit) for value in values)
    p = f"; McNemar's p = {difference.p:.2g}" if difference.p is not None else ""
    prompts = f" of {difference.prompts} prompts" if difference.prompts is not None else ""
    rows = f"{difference.rows} rows{prompts}"
    figures = f"{ours} against {theirs}, difference {gap} (95 % interval {low} to {high}{p}, {rows})"
    if not difference.settled:
        basis = f"so few rows, by {name}" if difference.independent_rows < MIN_ROWS else name
        return f"{one} and {other} can't be told apart by {basis}: {figures}."
    # For a loss, the result with the lower value is the better one.
    higher = difference.difference > 0
    better, worse = (one, other) if higher == measure.higher_is_better else (other, one)
    return f"{better} is better than {worse} by {name}: {figures}."


def format_value(value: float | None, unit: str = "") -> str:
    """A number for people; a share of rows in percent. What isn't known is a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f} %" if unit == FRACTION else f"{value:.4g}"
