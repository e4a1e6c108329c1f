"""Confidence intervals of one quality.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), with the
effective number of rows of E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected
number of positive counts estimated from survey data", Survey Methodology 24 (1998); R. G. Newcombe, "Confidence
intervals for an effect size measure based on the Mann-Whitney statistic, part 2", Statistics in Medicine 25 (2006),
method 5; G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27
(2008), for adding the errors of rows and of seeds ("MOVER").
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

from scipy import special

from reports.statistics.estimates import Estimate
from reports.statistics.resampling import ratio_interval

LEVEL = 0.95
Interval = tuple[float, float]


@dataclass(frozen=True)
class SeedVariance:
    """The variance of a quality between trainings that differ in their seed alone, and its degrees of freedom."""

    value: float
    degrees: int


def pooled_seed_variance(estimates: list[Estimate]) -> SeedVariance | None:
    """The variance between seeds, pooled over all configurations; ``None`` where none was trained twice.

    >>> import numpy as np
    >>> from reports.statistics.estimates import mean_estimate
    >>> pooled_seed_variance([mean_estimate([[1.0, 1.0], [1.0, 0.0]], [1, 2])])
    SeedVariance(value=0.125, degrees=1)
    """
    repeated = [estimate.qualities for estimate in estimates if estimate.seeds > 1]
    degrees = sum(len(qualities) - 1 for qualities in repeated)
    if not degrees:
        return None
    squares = sum(float(qualities.var(ddof=1)) * (len(qualities) - 1) for qualities in repeated)
    return SeedVariance(squares / degrees, degrees)


def interval(estimate: Estimate, seeds: SeedVariance | None, level: float = LEVEL) -> Interval:
    """The interval of the quality on rows like these, and where the variance between seeds is known, with any seed."""
    low, high = with_seeds(estimate.quality, rows_interval(estimate, level), seeds, level, estimate)
    return (max(0.0, low), min(1.0, high)) if estimate.proportion else (low, high)


def variance_beside_rows(seeds: SeedVariance, *estimates: Estimate) -> float:
    """What the variance between seeds adds to the variance of a quality, or of the difference of two.

    Rows and seeds share a part, which the variance by rows has already. At least 0: of the sum, as the parts of two
    qualities are estimated less well than their sum.
    """
    return beside_rows(seed_variance_of(seeds, *estimates), *estimates)


def beside_rows(seed_variance: float, *estimates: Estimate) -> float:
    """The same, by a given variance between seeds."""
    return max(0.0, sum(seed_variance * each.seed_share - each.both_variance for each in estimates))


def seed_variance_of(seeds: SeedVariance, *estimates: Estimate) -> float:
    """The variance between seeds of these qualities: the pooled one, or their own where that is larger.

    Some methods spread more than others. Their own variance alone, of two degrees of freedom each, would settle little;
    the pooled one alone would call a cell that spreads widely better or worse too often (simulated).
    """
    own = pooled_seed_variance(list(estimates))
    return seeds.value if own is None else max(seeds.value, own.value)


def with_seeds(
    value: float, by_rows: Interval, seeds: SeedVariance | None, level: float, *estimates: Estimate
) -> Interval:
    """An interval by rows, of a quality or of the difference of two, with what other seeds would change ("MOVER")."""
    if seeds is None:
        return by_rows
    low, high = by_rows
    spread = student(level, seeds.degrees) * sqrt(variance_beside_rows(seeds, *estimates))
    return value - sqrt((value - low) ** 2 + spread**2), value + sqrt((high - value) ** 2 + spread**2)


def rows_interval(estimate: Estimate, level: float = LEVEL) -> Interval:
    """The interval by the choice of test rows alone."""
    if estimate.answer_counts is not None:
        return _auc(estimate, level)
    if estimate.proportion:
        return wilson(estimate.quality, _effective_rows(estimate), level)
    return ratio_interval(estimate.mean_parts, estimate.sizes, level)


def wilson(proportion: float, count: float, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion of ``count`` rows, which need not be a whole number.

    Raises ``ValueError`` for ``count`` of 0 or less.

    >>> low, high = wilson(81 / 263, 263)
    >>> round(low, 4), round(high, 4)
    (0.2553, 0.3662)
    """
    if count <= 0:
        raise ValueError(f"an interval needs at least one row, got {count}")
    z = normal(level)
    spread = z * sqrt(proportion * (1 - proportion) / count + z**2 / (4 * count**2))
    middle, scale = proportion + z**2 / (2 * count), 1 + z**2 / count
    # At 0 and 1 the ends are exact; elsewhere rounding can carry one slightly beyond.
    low = 0.0 if proportion == 0 else max(0.0, (middle - spread) / scale)
    high = 1.0 if proportion == 1 else min(1.0, (middle + spread) / scale)
    return low, high


def auc_interval(auc: float, good: float, bad: float, level: float = LEVEL) -> Interval:
    """The interval of an area under a ROC curve, from the numbers of good and bad answers.

    Unlike a bootstrap, it is valid at 0 and 1 too. Raises ``ValueError`` without good or without bad answers. Its ends
    are the areas whose distance from ``auc`` is z standard errors by Hanley and McNeil's formula, with the mean of both
    counts in the numerator.

    >>> low, high = auc_interval(1.0, 64, 64)
    >>> round(low, 3), high
    (0.969, 1.0)
    """
    if good <= 0 or bad <= 0:
        raise ValueError(f"an interval needs good and bad answers, got {good} and {bad}")
    z = normal(level)
    # Hanley and McNeil's variance has good - 1 and bad - 1 here; Newcombe puts their mean in place of both.
    mean_count = max(0.0, (good + bad) / 2 - 1)

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


def normal(level: float) -> float:
    """The half-width of a two-sided normal interval in standard errors: 1.96 for 0.95."""
    # The same figures as scipy.stats', whose checks of arguments take twenty times as long.
    return float(special.ndtri((1 + level) / 2))


def student(level: float, degrees: float) -> float:
    """The same of Student's t; infinite without degrees of freedom."""
    return float(special.stdtrit(degrees, (1 + level) / 2)) if degrees > 0 else inf


def _effective_rows(estimate: Estimate) -> float:
    """The number of independent rows that would give a proportion the same variance."""
    quality, count = estimate.quality, estimate.clusters
    # The variance has count - 1 in its denominator, a proportion's has count.
    variance = estimate.rows_variance * (count - 1) / count
    return quality * (1 - quality) / variance if variance > 0 and 0 < quality < 1 else float(count)


def _auc(estimate: Estimate, level: float) -> Interval:
    assert estimate.answer_counts is not None
    # Several rows of one prompt tell less than as many prompts: the counts shrink by as much.
    share = estimate.clusters / estimate.rows
    good, bad = (count * share for count in estimate.answer_counts)
    return auc_interval(estimate.quality, good, bad, level)
