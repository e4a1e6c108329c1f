"""One-sided tests of a difference against a margin, and of the ratio of two optima.

A claim that one quality is worse than another by less than a margin is a test of non-inferiority: it holds where the
one-sided bound of the difference lies within the margin (G. Piaggio and others, "Reporting of noninferiority and
equivalence randomized trials", JAMA 308, 2012). Equivalence takes two such tests, each of the whole error (D. J.
Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the equivalence of
average bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15, 1987). A statement with several parts
holds where each is shown at that error, so that its p-value is the largest of theirs; one that is refuted by any of
them has the smallest, times their number (R. L. Berger, "Multiparameter hypothesis testing and acceptance sampling",
Technometrics 24, 1982; Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scipy import special

from reports.statistics.comparisons import MIN_CLUSTERS, difference_interval
from reports.statistics.estimates import Estimate
from reports.statistics.intervals import Interval, SeedVariance

LEAST_ERROR = 1e-6  # smaller p-values are given as this
HALVINGS = 12  # by which a p-value has two digits, of those near 0.05

# The two-sided interval of something, by its level.
Intervals = Callable[[float], Interval]


def difference_ps(
    one: Estimate, other: Estimate, seeds: SeedVariance | None, value: float
) -> tuple[float, float]:
    """The one-sided p-values that the difference of two qualities is not above ``value``, and that it is not below."""
    if min(one.clusters, other.clusters) < MIN_CLUSTERS:
        return 1.0, 1.0
    return interval_ps(lambda level: difference_interval(one, other, seeds, level), value)


def interval_ps(intervals: Intervals, value: float) -> tuple[float, float]:
    """The smallest one-sided errors at which the bounds of an interval leave out ``value``: the lower bound, as all of
    it lies above, and the upper bound. 1 for what is not left out at an error of a half.

    >>> above, below = interval_ps(lambda level: (0.0, 1.0), -0.1)
    >>> above <= 1e-6, below
    (True, 1.0)
    """
    return (
        _smallest_error(lambda error: intervals(1 - 2 * error)[0] > value),
        _smallest_error(lambda error: intervals(1 - 2 * error)[1] < value),
    )


def all_of(*ps: float) -> float:
    """The p-value of a statement each of whose parts has to be shown.

    >>> all_of(0.01, 0.2)
    0.2
    """
    return max(ps)


def any_of(ps: Sequence[float]) -> float:
    """The p-value of a statement that is shown by any of its parts.

    >>> any_of([0.01, 0.2])
    0.02
    """
    return min(1.0, len(ps) * min(ps))


def _smallest_error(leaves_out: Callable[[float], bool]) -> float:
    """The smallest error at which a bound leaves a value out, rounded upwards; wider bounds are those of less error."""
    if not leaves_out(0.499):
        return 1.0
    if leaves_out(LEAST_ERROR):
        return LEAST_ERROR
    # Halving on the scale of standard errors, where the bounds are spread evenly.
    near, far = (float(-special.ndtri(error)) for error in (0.499, LEAST_ERROR))
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        near, far = (middle, far) if leaves_out(float(special.ndtr(-middle))) else (near, middle)
    return float(special.ndtr(-near))
