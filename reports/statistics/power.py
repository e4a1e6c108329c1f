"""How many test rows and seeds it takes to settle a difference, and how likely given ones settle it.

By n independent rows and R seeds the variance of a difference is ``rows / n + seeds / R + both / (n R)``: rows and
seeds are crossed random effects (S. R. Searle, G. Casella and C. E. McCulloch, "Variance Components", 1992, chapter 4).
Sources: J. M. Lachin, "Introduction to sample size determination and power analysis for clinical trials", Controlled
Clinical Trials 2 (1981), for the standard error that a difference needs; D. J. Spiegelhalter, L. S. Freedman and P. R.
Blackburn, "Monitoring clinical trials: conditional or predictive power?", Controlled Clinical Trials 7 (1986), for the
probability that more data settle it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from scipy import special

from reports.statistics.estimates import Estimate, rows_degrees, rows_variance
from reports.statistics.intervals import (
    SeedVariance,
    beside_rows,
    seed_variance_of,
    student,
    variance_by_seeds,
)

POWER = 0.8
MOST_ROWS, MOST_SEEDS = 1_000_000, 1_000
# Of the variance by rows: what rows have alone is a difference of two estimates, and may come out at 0 by chance.
LEAST_ALONE = 0.05


@dataclass(frozen=True)
class Amount:
    """What a difference is measured with: independent ``rows``, and the ``seeds`` of each of the two."""

    rows: int
    seeds: tuple[int, int]


@dataclass(frozen=True)
class Criterion:
    """When a difference is settled: its p-value is below ``level``, or the one is as good within ``margin``.

    ``level`` is corrected for the number of pairs, ``one_sided`` is the error of a claim that the one is as good.
    """

    level: float
    one_sided: float
    margin: float | None

    def settles(self, gain: float, error: float, degrees: float) -> bool:
        """Whether a measured ``gain`` (of the one over the other) with that standard error is settled."""
        if abs(gain) >= student(1 - self.level, degrees) * error:
            return True
        return (
            self.margin is not None and gain - student(1 - 2 * self.one_sided, degrees) * error > -self.margin
        )


@dataclass(frozen=True)
class DifferenceLaw:
    """How a difference's variance falls with more rows and seeds; estimated from ``measured``.

    ``gain``: the difference as measured, in the direction that is better. ``rows``, ``both`` and ``seeds``: the
    variances of the module's formula, the latter two of each of the two: 0 for one that is not trained, or once.
    ``degrees``: of freedom, of the variance between seeds; ``None`` where each was trained once. ``rows_degrees``:
    those of the variance by rows, as measured: one fewer than rows, and of macro-F1 far fewer where a label is rare.
    ``degrees_per_row``: how many of these each further row adds.
    """

    gain: float
    measured: Amount
    rows: float
    both: tuple[float, float]
    seeds: tuple[float, float]
    degrees: float | None
    rows_degrees: float
    degrees_per_row: float = 1.0

    def error(self, amount: Amount) -> float:
        """The standard error of the difference."""
        by_seed = [
            (between + both / amount.rows) / count
            for between, both, count in zip(self.seeds, self.both, amount.seeds, strict=True)
        ]
        return sqrt(self.rows / amount.rows + sum(by_seed))

    def degrees_of_freedom(self, amount: Amount) -> float:
        """Of the standard error: those of the rows where no seeds count, else by Satterthwaite."""
        of_rows = self._degrees_of_rows(amount.rows)
        by_rows = self.rows / amount.rows
        by_seeds = self.error(amount) ** 2 - by_rows
        if self.degrees is None or by_seeds <= 0:
            return of_rows
        added = sum(amount.seeds) - sum(self.measured.seeds)
        parts = by_rows**2 / of_rows + by_seeds**2 / max(1, self.degrees + added)
        return float((by_rows + by_seeds) ** 2 / parts)

    def _degrees_of_rows(self, rows: int) -> float:
        """Of the variance by so many rows, of which the labels are as frequent as among those that were measured."""
        return max(1.0, self.rows_degrees + self.degrees_per_row * (rows - self.measured.rows))

    def would_settle(self, amount: Amount, criterion: Criterion) -> bool:
        """Whether this much settles it with a probability of 80 %, if the true difference is the measured one."""
        error, degrees = self.error(amount), self.degrees_of_freedom(amount)
        reserve = float(special.ndtri(POWER)) * error
        different = abs(self.gain) - reserve
        if different > 0 and different >= student(1 - criterion.level, degrees) * error:
            return True
        bound = student(1 - 2 * criterion.one_sided, degrees) * error + reserve
        return criterion.margin is not None and self.gain - bound > -criterion.margin

    def probability(self, amount: Amount, criterion: Criterion) -> float:
        """The predictive probability that the difference is settled once it is measured with this much.

        By all that is known now: of the true difference, and of where the measured one will lie.
        """
        error, degrees = self.error(amount), self.degrees_of_freedom(amount)
        spread = sqrt(max(0.0, self.error(self.measured) ** 2 - error**2))
        if spread == 0:
            return float(criterion.settles(self.gain, error, degrees))
        reach = student(1 - criterion.level, degrees) * error
        low, high = -reach, reach
        if criterion.margin is not None:
            high = min(high, student(1 - 2 * criterion.one_sided, degrees) * error - criterion.margin)
        if high <= low:
            return 1.0
        open_share = special.ndtr((high - self.gain) / spread) - special.ndtr((low - self.gain) / spread)
        return float(1 - open_share)

    def rows_needed(self, criterion: Criterion) -> int | None:
        """The fewest rows that would settle it with these seeds; ``None`` where no number of rows does."""
        now = self.measured
        return _fewest(
            now.rows + 1,
            MOST_ROWS,
            lambda rows: self.would_settle(Amount(rows, now.seeds), criterion),
        )

    def seeds_needed(self, criterion: Criterion) -> int | None:
        """The fewest seeds of each of the two that would settle it on these rows; ``None`` where none do, and where
        each was trained once, so that verdicts are of the trained models.
        """
        if self.degrees is None:
            return None
        now = self.measured
        return _fewest(
            min(now.seeds) + 1,
            MOST_SEEDS,
            lambda seeds: self.would_settle(
                Amount(now.rows, (max(seeds, now.seeds[0]), max(seeds, now.seeds[1]))), criterion
            ),
        )


def difference_law(
    one: Estimate, other: Estimate, seeds: SeedVariance | None, *, higher_is_better: bool
) -> DifferenceLaw | None:
    """The law of the difference of two qualities; ``None`` where they were measured on other rows, or on one."""
    if one.keys != other.keys or one.clusters != other.clusters or one.clusters < 2:
        return None
    count, pair = one.clusters, (one, other)
    # By one training what rows and seeds have together can't be told from what rows have alone.
    shared = [each.both_variance if seeds is not None else 0.0 for each in pair]
    by_rows = rows_variance(one.mean_pulls - other.mean_pulls)
    if one.proportion and other.proportion and one.is_mean and other.is_mean:
        # As in their interval (Bonett and Price), two rows more that differ: none among few rows is no proof of none.
        by_rows += 2 / (count + 2) ** 2
    between, degrees = [0.0, 0.0], None
    if seeds is not None:
        by_seeds = variance_by_seeds(seeds, *pair)
        degrees = by_seeds.degrees
        if by_seeds.value:
            # Of each one's variance between seeds, the share that the difference's has beside that by rows.
            beside = beside_rows(by_seeds.value, *pair) / by_seeds.value
            between = [beside * seed_variance_of(seeds, each).value * (not each.untrained) for each in pair]
    gain = one.quality - other.quality
    of_rows = rows_degrees(one, other)
    return DifferenceLaw(
        gain if higher_is_better else -gain,
        Amount(count, (one.seeds, other.seeds)),
        count * max(LEAST_ALONE * by_rows, by_rows - sum(shared)),
        (count * one.seeds * shared[0], count * other.seeds * shared[1]),
        (between[0], between[1]),
        degrees,
        of_rows,
        # Of macro-F1 they are a sum of halves of rows, from which no degree is taken.
        of_rows / count if one.law is not None or other.law is not None else 1.0,
    )


def _fewest(low: int, high: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest number from ``low`` that is enough, as all larger ones are; ``None`` where ``high`` is not."""
    if not enough(high):
        return None
    reach, stride = low, 1
    while not enough(reach):
        low, reach, stride = reach + 1, min(high, reach + stride), 2 * stride
    while low < reach:
        middle = (low + reach) // 2
        low, reach = (low, middle) if enough(middle) else (middle + 1, reach)
    return low
