"""How sure a difference is: intervals for proportions, and tests over the same rows.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927);
R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
Medicine 17 (1998), method 10; Q. McNemar, Psychometrika 12 (1947), in its exact binomial form; B. Efron and
R. Tibshirani, "An Introduction to the Bootstrap" (1993), percentile interval over paired rows; P. Koehn, "Statistical
significance tests for machine translation evaluation", EMNLP 2004, for measures of all rows at once, such as BLEU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import comb, sqrt
from typing import Any

# Computes a measure of all rows from how often each row is drawn, (rows,) of int.
ResampledMeasure = Callable[[Any], float]
MEASURE_RESAMPLES = 1_000  # the number in Koehn's paper
# With fewer rows, even equal signs in all of them are not significant at 5 % (sign test of 5 rows: 2 / 2^5 = 0.06).
MIN_ROWS = 6
Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson(proportion: float, count: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion of ``count`` rows; unlike p ± 2 SE, it is valid at 0 and 1 too.

    Raises ``ValueError`` for ``count`` below 1.

    >>> low, high = wilson(81 / 263, 263)
    >>> round(low, 4), round(high, 4)
    (0.2553, 0.3662)
    """
    if count <= 0:
        raise ValueError(f"an interval needs at least one row, got {count}")
    spread = z * sqrt(proportion * (1 - proportion) / count + z**2 / (4 * count**2))
    middle, scale = proportion + z**2 / (2 * count), 1 + z**2 / count
    # Rounding can carry an end slightly beyond 0 or 1.
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def newcombe(one: float, one_count: int, other: float, other_count: int) -> tuple[float, float]:
    """Newcombe's 95 % interval of the difference of two proportions, from their Wilson intervals.

    It assumes that the rows are independent. Two methods usually agree more often than that on the same rows, so the
    interval is too wide rather than too narrow.

    >>> low, high = newcombe(56 / 70, 70, 48 / 80, 80)
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3339)
    """
    (low1, high1), (low2, high2) = wilson(one, one_count), wilson(other, other_count)
    difference = one - other
    # Each end takes the two Wilson bounds that move the difference towards it.
    below = sqrt((one - low1) ** 2 + (high2 - other) ** 2)
    above = sqrt((high1 - one) ** 2 + (other - low2) ** 2)
    return difference - below, difference + above


def auc_interval(auc: float, good: int, bad: int, z: float = Z95) -> tuple[float, float]:
    """The 95 % interval of an area under a ROC curve, from the numbers of good and bad answers.

    Unlike a bootstrap, it is valid at 0 and 1 too. Raises ``ValueError`` without good or without bad answers.

    Newcombe's method 5 (R. G. Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic, part 2", Statistics in Medicine 25, 2006): its ends are the areas whose distance from ``auc`` is z
    standard errors by Hanley and McNeil's formula, with the mean of both counts in the numerator.

    >>> low, high = auc_interval(1.0, 64, 64)
    >>> round(low, 3), high
    (0.969, 1.0)
    """
    if good <= 0 or bad <= 0:
        raise ValueError(f"an interval needs good and bad answers, got {good} and {bad}")
    # Hanley and McNeil's variance has good - 1 and bad - 1 here; Newcombe puts their mean in place of both.
    mean_count = (good + bad) / 2 - 1

    def error(theta: float) -> float:
        spread = 1 + mean_count * (1 - theta) / (2 - theta) + mean_count * theta / (1 + theta)
        return z * sqrt(theta * (1 - theta) * spread / (good * bad))

    def end(within: float, beyond: float) -> float:
        # Invariant: `beyond` is at least z standard errors from auc; `within` is nearer, or is auc itself.
        for _ in range(60):  # bisection: 60 halvings reach the precision of a float
            middle = (within + beyond) / 2
            within, beyond = (middle, beyond) if abs(auc - middle) < error(middle) else (within, middle)
        return within

    return end(auc, 0.0) if auc > 0 else 0.0, end(auc, 1.0) if auc < 1 else 1.0


def mcnemar(one_only: int, other_only: int) -> float:
    """McNemar's exact two-sided p-value that two methods are right equally often.

    ``one_only`` and ``other_only``: the numbers of rows that only the one or only the other got right.

    >>> round(mcnemar(10, 2), 5)
    0.03857
    """
    # If both are right equally often, each disagreement falls to either side with probability 1/2. Both tails
    # hold the middle where the counts are equal, hence the `min` below.
    total, fewer = one_only + other_only, min(one_only, other_only)
    tail: float = sum(comb(total, k) for k in range(fewer + 1)) / 2**total
    return min(1.0, 2 * tail)


def paired_bootstrap(differences: Sequence[float], resamples: int = 10_000) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of the differences by row. The same rows give the same interval.

    >>> paired_bootstrap([0.5, 0.5, 0.5])
    (0.5, 0.5)
    """
    import numpy as np

    if not differences:
        raise ValueError("an interval needs at least one row")
    rng, values = np.random.default_rng(0), np.asarray(differences, dtype=float)
    # In blocks, so that resamples x rows numbers never have to fit in memory at once.
    block = max(1, 1_000_000 // len(values))
    means = np.concatenate(
        [
            values[rng.integers(0, len(values), size=(min(block, resamples - start), len(values)))].mean(
                axis=1
            )
            for start in range(0, resamples, block)
        ]
    )
    return _percentiles(means)


def bootstrap(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """The 95 % percentile interval of a weighted mean, such as a loss per token, over resampled rows.

    >>> bootstrap([2.0, 2.0], [1.0, 9.0])
    (2.0, 2.0)
    """
    return _percentiles(_means((values, weights))[0])


def paired_difference(
    one: Sequence[float],
    one_weights: Sequence[float],
    other: Sequence[float],
    other_weights: Sequence[float],
) -> tuple[float, float]:
    """The 95 % percentile interval of the difference of two weighted means over the same rows.

    >>> paired_difference([3.0, 4.0], [1.0, 1.0], [2.0, 3.0], [1.0, 1.0])
    (1.0, 1.0)
    """
    first, second = _means((one, one_weights), (other, other_weights))
    return _percentiles(first - second)


def bootstrap_measure(rows: int, measure: ResampledMeasure) -> tuple[float, float]:
    """The 95 % percentile interval of a measure of all rows together, such as BLEU, over resampled rows.

    >>> bootstrap_measure(2, lambda drawn: 7.0 * drawn.sum())
    (14.0, 14.0)
    """
    return _percentiles([measure(counts) for counts in _counts(rows, seed=0)])


def paired_measure_difference(
    rows: int, one: ResampledMeasure, other: ResampledMeasure
) -> tuple[float, float]:
    """The 95 % percentile interval of the difference of two such measures over the same resampled rows.

    >>> paired_measure_difference(2, lambda drawn: drawn[0] + 2.0, lambda drawn: drawn[0])
    (2.0, 2.0)
    """
    return _percentiles([one(counts) - other(counts) for counts in _counts(rows, seed=0)])


def unpaired_measure_difference(
    rows: int, one: ResampledMeasure, other_rows: int, other: ResampledMeasure
) -> tuple[float, float]:
    """The 95 % percentile interval of the difference of two such measures, each over resampled rows of its own."""
    # Different seeds: with the same draws two sets of as many rows would be paired.
    pairs = zip(_counts(rows, seed=0), _counts(other_rows, seed=1), strict=True)
    return _percentiles([one(counts) - other(others) for counts, others in pairs])


def _counts(rows: int, seed: int) -> Iterator[Any]:
    """How often each row is drawn, (rows,) of int, for each resample."""
    import numpy as np

    if rows <= 0:
        raise ValueError("an interval needs at least one row")
    rng = np.random.default_rng(seed)
    for _ in range(MEASURE_RESAMPLES):
        yield np.bincount(rng.integers(0, rows, size=rows), minlength=rows)


def _means(*columns: tuple[Sequence[float], Sequence[float]]) -> list[Any]:
    """The weighted mean of each pair (values, weights) in every resample, (resamples,) each; all use the same draws.

    Draws 10,000 resamples, or fewer (at least 1,000) where there are more than 5,000 rows.
    """
    import numpy as np

    count = len(columns[0][0])
    if not count:
        raise ValueError("an interval needs at least one row")
    resamples, block = max(1_000, min(10_000, 50_000_000 // count)), max(1, 1_000_000 // count)
    pairs = [(np.asarray(values, float), np.asarray(weights, float)) for values, weights in columns]
    rng = np.random.default_rng(0)
    blocks: list[list[Any]] = [[] for _ in pairs]
    for start in range(0, resamples, block):
        # (block, rows) of row numbers, the same for every pair: differences between the means are paired.
        drawn = rng.integers(0, count, size=(min(block, resamples - start), count))
        for (values, weights), means in zip(pairs, blocks, strict=True):
            means.append((values * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    return [np.concatenate(means) for means in blocks]


def _percentiles(means: Any) -> tuple[float, float]:
    import numpy as np

    values = np.asarray(means)
    # A resample without good or without bad answers has no AUC: NaN.
    low, high = np.quantile(values[~np.isnan(values)], [0.025, 0.975])
    return float(low), float(high)
