"""Tests and intervals of the difference of two qualities, and of many at once.

Sources: Q. McNemar, Psychometrika 12 (1947), in its exact binomial form; R. A. Fisher's exact test; D. G. Bonett and
R. M. Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired data", Journal
of Educational and Behavioral Statistics 37 (2012); R. G. Newcombe, "Interval estimation for the difference between
independent proportions", Statistics in Medicine 17 (1998), method 10, and its general form in Zou and Donner (2008,
see ``intervals``); F. E. Satterthwaite, Biometrics Bulletin 2 (1946); S. Holm, "A simple sequentially rejective
multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import stats

from reports import units
from reports.statistics.estimates import Array, Estimate, rows_degrees, rows_variance
from reports.statistics.intervals import (
    LEVEL,
    Interval,
    SeedVariance,
    beside_rows,
    normal,
    rows_interval,
    variance_by_seeds,
    with_seeds,
)
from reports.statistics.resampling import flip_interval, sign_flip_p
from reports.text import text

# With fewer, even equal signs in all of them are not significant at 5 % (sign test of 5 rows: 2 / 2^5 = 0.06).
MIN_CLUSTERS = 6


@dataclass(frozen=True)
class Comparison:
    """``difference`` of the first quality from the second, its 95 % interval and two-sided p-value.

    ``at_least`` and ``at_most``: the bounds of the difference, each of the one-sided error that was asked for.
    ``basis``: the test, and on how many rows and seeds.
    """

    difference: float
    interval: Interval
    at_least: float
    at_most: float
    p: float
    basis: str


def compare_estimates(
    one: Estimate, other: Estimate, seeds: SeedVariance | None, one_sided: float = 0.05
) -> Comparison:
    """Compares two qualities, over the same rows where both have them. ``one_sided``: the error of each bound.

    Without ``seeds``, of the two trained models alone; with it, of their configurations trained with any seed.
    """
    paired = _is_paired(one, other)
    p, test = _rows_p(one, other, paired)
    if seeds is not None:
        p = max(p, _seeds_p(one, other, paired, seeds))
    low, high = difference_interval(one, other, seeds, LEVEL)
    # A one-sided 95 % bound is an end of a two-sided 90 % interval.
    at_least, at_most = difference_interval(one, other, seeds, 1 - 2 * one_sided)
    difference = one.quality - other.quality
    return Comparison(
        difference,
        (low, high),
        at_least,
        at_most,
        p,
        text("{test} on {numbers}", test=test, numbers=_numbers(one, other, paired)),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number, in the same order.

    >>> [round(p, 4) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    count, corrected, largest = len(p_values), [0.0] * len(p_values), 0.0
    for rank, number in enumerate(sorted(range(count), key=lambda number: p_values[number])):
        # The smallest is multiplied by all, the next by one less, and none falls below one before it.
        largest = max(largest, min(1.0, (count - rank) * p_values[number]))
        corrected[number] = largest
    return corrected


def mcnemar(one_only: int, other_only: int) -> float:
    """McNemar's exact two-sided p-value that two methods are right equally often.

    ``one_only`` and ``other_only``: the numbers of rows that only the one or only the other got right.

    >>> round(mcnemar(10, 2), 5)
    0.03857
    """
    total = one_only + other_only
    return float(stats.binomtest(one_only, total).pvalue) if total else 1.0


def _is_paired(one: Estimate, other: Estimate) -> bool:
    """Whether both were measured on the same rows."""
    return one.keys == other.keys and one.clusters == other.clusters


def _rows_p(one: Estimate, other: Estimate, paired: bool) -> tuple[float, str]:
    """The p-value by the choice of rows alone, and the test's name."""
    single = one.binary and other.binary and one.seeds == other.seeds == 1
    independent = one.clusters == one.rows and other.clusters == other.rows
    if not paired:
        if single and independent:
            table = [
                [round(each.quality * each.rows), round((1 - each.quality) * each.rows)]
                for each in (one, other)
            ]
            return float(stats.fisher_exact(table).pvalue), text("Fisher's exact test")
        return _welch_p(one, other), text("Welch's t-test")
    if single and independent:
        moved = np.sign(_paired_parts(one, other))
        return mcnemar(int((moved > 0).sum()), int((moved < 0).sum())), text("McNemar's exact test")
    p = sign_flip_p(_paired_parts(one, other))
    if one.law is not None or other.law is not None:
        p = max(p, _student_p(one, other, _difference_variance(one, other, paired), rows_degrees(one, other)))
    return p, text("sign flips")


def _paired_parts(one: Estimate, other: Estimate) -> Array:
    """What each cluster adds to the difference of two qualities over the same rows: (clusters,)."""
    difference: Array = one.mean_parts - other.mean_parts
    return difference


def _welch_p(one: Estimate, other: Estimate) -> float:
    variances = one.rows_variance, other.rows_variance
    total = sum(variances)
    if min(one.clusters, other.clusters) < MIN_CLUSTERS:
        return 1.0
    parts = sum(
        variance**2 / rows_degrees(each) for variance, each in zip(variances, (one, other), strict=True)
    )
    return _student_p(one, other, total, total**2 / parts if parts else 1.0)


def _seeds_p(one: Estimate, other: Estimate, paired: bool, seeds: SeedVariance) -> float:
    """The p-value by rows and seeds: t. The degrees of freedom of the seeds of both cells are by Welch
    (:func:`variance_by_seeds`), those of rows and seeds together by Satterthwaite.
    """
    by_rows = _difference_variance(one, other, paired)
    by_seeds = variance_by_seeds(seeds, one, other)
    beside = beside_rows(by_seeds.value, one, other)
    total, degrees = by_rows + beside, rows_degrees(one, other)
    if beside != 0:
        degrees = total**2 / (by_rows**2 / degrees + by_seeds.value**2 / by_seeds.degrees)
    return _student_p(one, other, total, degrees)


def _student_p(one: Estimate, other: Estimate, variance: float, degrees: float) -> float:
    """The two-sided p-value of the difference by Student's t."""
    difference = abs(one.quality - other.quality)
    if variance == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stats.t.sf(difference / sqrt(variance), degrees))


def _difference_variance(one: Estimate, other: Estimate, paired: bool) -> float:
    if paired:
        return rows_variance(one.mean_pulls - other.mean_pulls)
    return one.rows_variance + other.rows_variance


def difference_interval(one: Estimate, other: Estimate, seeds: SeedVariance | None, level: float) -> Interval:
    """The interval of the first quality minus the second; with ``seeds``, of their configurations with any seed."""
    by_rows = _rows_interval(one, other, _is_paired(one, other), level)
    return with_seeds(one.quality - other.quality, by_rows, seeds, level, one, other)


def _rows_interval(one: Estimate, other: Estimate, paired: bool, level: float) -> Interval:
    """The interval by the choice of rows alone."""
    if paired and one.is_mean and other.is_mean:
        if one.proportion and other.proportion:
            return _paired_proportions(one, other, level)
        if np.allclose(one.sizes, other.sizes, rtol=1e-9, atol=0):
            return flip_interval(_paired_parts(one, other), one.sizes, level)
    correlation = _correlation(one.mean_pulls, other.mean_pulls) if paired else 0.0
    return _from_single_intervals(one, other, correlation, level)


def _paired_proportions(one: Estimate, other: Estimate, level: float) -> Interval:
    """Bonett and Price's interval, of scores averaged over seeds too: two rows that disagree are added.

    Each prompt counts as one row.
    """
    moved = _paired_parts(one, other)
    count = len(moved)
    # In units of rows: the scores' differences by row, were each cluster a row.
    scaled = moved * count
    adjusted = float(scaled.sum()) / (count + 2)
    variance = (float((scaled**2).sum()) + 2 - (count + 2) * adjusted**2) / (count + 2) ** 2
    spread = normal(level) * sqrt(max(0.0, variance))
    return max(-1.0, adjusted - spread), min(1.0, adjusted + spread)


def _correlation(one: Array, other: Array) -> float:
    spread = float(one.std() * other.std())
    return float(np.mean((one - one.mean()) * (other - other.mean()))) / spread if spread > 0 else 0.0


def _from_single_intervals(one: Estimate, other: Estimate, correlation: float, level: float) -> Interval:
    """The difference's interval from those of both qualities: each end takes the two ends that move towards it."""
    difference = one.quality - other.quality
    low, high = rows_interval(one, level)
    other_low, other_high = rows_interval(other, level)

    def distance(first: float, second: float) -> float:
        return sqrt(max(0.0, first**2 + second**2 - 2 * correlation * first * second))

    return (
        difference - distance(one.quality - low, other_high - other.quality),
        difference + distance(high - one.quality, other.quality - other_low),
    )


def _numbers(one: Estimate, other: Estimate, paired: bool) -> str:
    rows = _of_clusters(text("{count} rows", count=one.rows), one)
    if not paired:
        others = _of_clusters(text("{count} other rows", count=other.rows), other)
        rows = text("{rows} and {others}", rows=rows, others=others)
    seeds = {each.seeds for each in (one, other) if not each.untrained}
    if seeds <= {1}:
        return rows
    return text("{rows}, {counts} seeds", rows=rows, counts=units.join(list(map(str, sorted(seeds)))))


def _of_clusters(rows: str, estimate: Estimate) -> str:
    if estimate.clusters == estimate.rows:
        return rows
    nouns = {"prompts": text("prompts"), "groups": text("groups")}
    noun = nouns.get(estimate.cluster_noun, estimate.cluster_noun)
    return text("{rows} of {count} {noun}", rows=rows, count=estimate.clusters, noun=noun)
