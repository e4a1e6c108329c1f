"""Intervals and differences of the measures that ``paretune evaluate`` computes, each over the same rows.

Source for measures of all rows at once, such as BLEU: P. Koehn, "Statistical significance tests for machine translation
evaluation", EMNLP 2004.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from reports.statistics.comparisons import mcnemar
from reports.statistics.estimates import Array
from reports.statistics.intervals import LEVEL, auc_interval, wilson
from reports.statistics.resampling import flip_interval, ratio_interval

__all__ = [
    "auc_interval",
    "mcnemar",
    "mean_interval",
    "measure_interval",
    "paired_difference",
    "paired_measure_difference",
    "wilson",
]

# Computes a measure of all rows from how often each row is drawn, (rows,) of int.
ResampledMeasure = Callable[[Any], float]
MEASURE_RESAMPLES = 1_000  # the number in Koehn's paper


def mean_interval(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a weighted mean, such as a loss per token: studentised bootstrap over rows.

    An end is infinite where there are too few rows to give one. Raises ``ValueError`` without rows.

    >>> mean_interval([2.0, 2.0], [1.0, 9.0])
    (2.0, 2.0)
    """
    scores, sizes = _columns(values, weights)
    return ratio_interval(scores * sizes, sizes, LEVEL)


def paired_difference(
    one: Sequence[float],
    one_weights: Sequence[float],
    other: Sequence[float],
    other_weights: Sequence[float],
) -> tuple[float, float]:
    """The 95 % interval of the difference of two weighted means over the same rows: what sign flips don't reject.

    An end is infinite with too few rows. Rows that the two weight differently are weighted by the mean share.

    >>> paired_difference([3.0] * 8, [1.0] * 8, [2.0] * 8, [1.0] * 8)
    (1.0, 1.0)
    """
    (first, sizes), (second, other_sizes) = _columns(one, one_weights), _columns(other, other_weights)
    shares, other_shares = sizes / sizes.sum(), other_sizes / other_sizes.sum()
    return flip_interval(first * shares - second * other_shares, (shares + other_shares) / 2, LEVEL)


def measure_interval(rows: int, measure: ResampledMeasure) -> tuple[float, float]:
    """The 95 % percentile interval of a measure of all rows together, such as BLEU, over resampled rows.

    >>> measure_interval(2, lambda drawn: 7.0 * drawn.sum())
    (14.0, 14.0)
    """
    return _percentiles([measure(counts) for counts in _counts(rows)])


def paired_measure_difference(
    rows: int, one: ResampledMeasure, other: ResampledMeasure
) -> tuple[float, float]:
    """The 95 % percentile interval of the difference of two such measures over the same resampled rows.

    >>> paired_measure_difference(2, lambda drawn: drawn[0] + 2.0, lambda drawn: drawn[0])
    (2.0, 2.0)
    """
    return _percentiles([one(counts) - other(counts) for counts in _counts(rows)])


def _columns(values: Sequence[float], weights: Sequence[float]) -> tuple[Array, Array]:
    if not values:
        raise ValueError("an interval needs at least one row")
    return np.asarray(values, dtype=float), np.asarray(weights, dtype=float)


def _counts(rows: int) -> Iterator[Any]:
    """How often each row is drawn, (rows,) of int, for each resample."""
    if rows <= 0:
        raise ValueError("an interval needs at least one row")
    rng = np.random.default_rng(0)
    for _ in range(MEASURE_RESAMPLES):
        yield np.bincount(rng.integers(0, rows, size=rows), minlength=rows)


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    drawn = np.asarray(values)
    # A resample without good or without bad answers has no AUC: NaN.
    low, high = np.quantile(drawn[~np.isnan(drawn)], [0.025, 0.975])
    return float(low), float(high)
