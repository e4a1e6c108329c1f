"""Confidence intervals of one quality.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), with the
effective number of rows of E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected
number of positive counts estimated from survey data", Survey Methodology 24 (1998); R. G. Newcombe, "Confidence
intervals for an effect size measure based on the Mann-Whitney statistic, part 2", Statistics in Medicine 25 (2006),
method 5; G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27
(2008), for adding the errors of rows and of seeds ("MOVER"); B. L. Welch, "The generalization of 'Student's' problem
when several different population variances are involved", Biometrika 34 (1947), for the degrees of freedom of a sum of
variances.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    degrees: float


def pooled_seed_variance(estimates: list[Estimate]) -> SeedVariance | None:
    """The variance between seeds, pooled over all configurations; ``None`` where none was trained twice.

    Its degrees of freedom are fewer than the seeds have together where a few of the configurations make up most of it.

    >>> import numpy as np
    >>> from reports.statistics.estimates import mean_estimate
    >>> pooled_seed_variance([mean_estimate([[1.0, 1.0], [1.0, 0.0]], [1, 2])])
    SeedVariance(value=0.125, degrees=1)
    """
    own = [each for each in map(_own_seed_variance, estimates) if each is not None]
    degrees = sum(each.degrees for each in own)
    return _sum_of([SeedVariance(each.value * each.degrees / degrees, each.degrees) for each in own])


def interval(estimate: Estimate, seeds: SeedVariance | None, level: float = LEVEL) -> Interval:
    """The interval of the quality on rows like these, and where the variance between seeds is known, with any seed."""
    low, high = with_seeds(estimate.quality, rows_interval(estimate, level), seeds, level, estimate)
    return (max(0.0, low), min(1.0, high)) if estimate.proportion else (low, high)


def beside_rows(by_seeds: float, *estimates: Estimate) -> float:
    """What the variance by seeds adds to the variance by rows of a quality, or of the difference of two.

    Rows and seeds share a part, which the variance by rows has already. At least 0: of the sum, as the parts of two
    qualities are estimated less well than their sum.
    """
    return max(0.0, by_seeds - sum(each.both_variance for each in estimates))


def seed_variance_of(seeds: SeedVariance, estimate: Estimate) -> SeedVariance:
    """The variance between a configuration's seeds: the pooled one, or its own where that is larger.

    Some methods spread more than others. Their own variances alone, of two degrees of freedom each for three seeds,
    would settle little; the pooled one alone would call a cell that spreads widely better or worse too often, and so
    would the larger one with the degrees of freedom of the pooled one (simulated).
    """
    own = _own_seed_variance(estimate)
    return seeds if own is None or own.value <= seeds.value else own


def variance_by_seeds(seeds: SeedVariance, *estimates: Estimate) -> SeedVariance:
    """The variance by seeds of a quality that is a mean over them, or of the difference of two, and its degrees."""
    trained = [each for each in estimates if each.seed_share]
    known = [(seed_variance_of(seeds, each), each.seed_share) for each in trained]
    parts = [SeedVariance(own.value * share, own.degrees) for own, share in known if own is not seeds]
    # The pooled variance is one estimate, however many qualities have it.
    if pooled := sum(share for own, share in known if own is seeds):
        parts.append(SeedVariance(seeds.value * pooled, seeds.degrees))
    found = _sum_of(parts) or SeedVariance(0.0, seeds.degrees)
    return SeedVariance(found.value, min(seeds.degrees, found.degrees)) if len(parts) > 1 else found


def _own_seed_variance(estimate: Estimate) -> SeedVariance | None:
    value = estimate.variance_between_seeds
    return None if value is None else SeedVariance(value, estimate.seeds - 1)


def _sum_of(parts: Sequence[SeedVariance]) -> SeedVariance | None:
    """The sum of independent variances; ``None`` without any.

    Its degrees of freedom are by Welch (1947), which are less biased for few than Satterthwaite's: from the fewest of
    a part to those of all together.
    """
    if not parts:
        return None
    total, together = sum(part.value for part in parts), sum(part.degrees for part in parts)
    squares = sum(part.value**2 / (part.degrees + 2) for part in parts)
    if squares == 0:
        return SeedVariance(total, together)
    fewest = min(part.degrees for part in parts)
    return SeedVariance(total, min(together, max(fewest, total**2 / squares - 2)))


def with_seeds(
    value: float, by_rows: Interval, seeds: SeedVariance | None, level: float, *estimates: Estimate
) -> Interval:
    """An interval by rows, of a quality or of the difference of two, with what other seeds would change ("MOVER")."""
    if seeds is None:
        return by_rows
    low, high = by_rows
    by_seeds = variance_by_seeds(seeds, *estimates)
    spread = student(level, by_seeds.degrees) * sqrt(beside_rows(by_seeds.value, *estimates))
    return value - sqrt((value - low) ** 2 + spread**2), value + sqrt((high - value) ** 2 + spread**2)


def rows_interval(estimate: Estimate, level: float = LEVEL) -> Interval:
    """The interval by the choice of test rows alone."""
    if estimate.answer_counts is not None:
        return _auc(estimate, level)
    if estimate.law is not None:
        rows, degrees = estimate.law
        return wilson(estimate.quality, rows, level, degrees)
    if estimate.proportion:
        return wilson(estimate.quality, _effective_rows(estimate), level)
    return ratio_interval(estimate.mean_parts, estimate.sizes, level)


def wilson(proportion: float, count: float, level: float = LEVEL, degrees: float = inf) -> Interval:
    """Wilson's score interval of a proportion of ``count`` rows, which need not be a whole number; with ``degrees`` of
    freedom by Student's t.

    Raises ``ValueError`` for ``count`` of 0 or less.

    >>> low, high = wilson(81 / 263, 263)
    >>> round(low, 4), round(high, 4)
    (0.2553, 0.3662)
    """
    if count <= 0:
        raise ValueError(f"an interval needs at least one row, got {count}")
    z = normal(level) if degrees == inf else student(level, degrees)
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
