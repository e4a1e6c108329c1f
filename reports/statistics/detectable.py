"""Which difference a comparison would tell before anything is measured, under stated assumptions.

Source: J. M. Lachin, Controlled Clinical Trials 2 (1981); for paired shares of rows R. J. Connor, "Sample size for
testing differences in proportions for the paired-sample design", Biometrics 43 (1987); F. E. Satterthwaite, Biometrics
Bulletin 2 (1946), for the degrees of freedom. Of macro-F1 the rows of each label count, as in
``reports.statistics.macro_f1``: a difference of all labels' F1 by d is one of all labels' recall by d, whose variance
is that of a mean of proportions, each of its label's rows. That is rough where a label is rare, as its F1 depends on
rows that are wrongly given it, too: a simulated difference of 9 points was found as often as it says of 17
(``reports/README.md``). Needs no scipy, which takes as long to import as a whole ``paretune plan``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, exp, log, pi, sin, sqrt
from statistics import NormalDist

from reports.statistics.looks import FIRST

POWER = 0.8
DEGREES_PER_ROW = 0.5  # of a label's variance, as in ``reports.statistics.macro_f1``


def detectable_difference(
    rows: int,
    seeds: int,
    pairs: int,
    *,
    row_variance: float,
    seed_sd: float,
    seed_degrees: float = 0,
    sides: int = 2,
    power: float = POWER,
    label_shares: Sequence[float] = (),
) -> float:
    """The smallest true difference that is found with this ``power``, in the unit of both standard deviations.

    ``rows``: independent test rows. ``seeds`` that each is the mean of. ``pairs`` of which it is one, for which its
    p-value is corrected. ``row_variance``: of one row's difference between two methods; of shares of rows, the share
    of rows in which they differ. ``seed_sd``: between trainings that differ in their seed alone; 0 where one training
    is compared. ``seed_degrees``: of freedom, by which the variance between seeds will be estimated; the fewer, the
    larger a difference has to be. ``sides``: 1 of a one-sided test. ``label_shares``: of macro-F1, the share of the
    rows that have each label; the fewer rows the rarest has, the larger the difference. Raises ``ValueError`` without
    rows.

    >>> round(detectable_difference(64, 1, 1, row_variance=0.2, seed_sd=0), 3)
    0.162
    >>> round(detectable_difference(64, 1, 1, row_variance=0.2, seed_sd=0, label_shares=(0.1, 0.9)), 2)
    0.37
    """
    if rows < 1:
        raise ValueError("no difference can be told on no rows")
    effective, row_degrees = _of_labels(rows, label_shares) if label_shares else (rows, float(rows - 1))
    by_rows, by_seeds = row_variance / effective, 2 * seed_sd**2 / max(1, seeds)
    tail = FIRST / (sides * max(1, pairs))
    if label_shares or (by_seeds and seed_degrees):
        parts = by_rows**2 / max(1, row_degrees)
        if by_seeds and seed_degrees:
            parts += by_seeds**2 / seed_degrees
        degrees = (by_rows + by_seeds) ** 2 / parts
        needed = student_quantile(tail, degrees) + student_quantile(1 - power, degrees)
    else:
        quantile = NormalDist().inv_cdf
        needed = quantile(1 - tail) + quantile(power)
    return needed * sqrt(by_rows + by_seeds)


def _of_labels(rows: int, shares: Sequence[float]) -> tuple[float, float]:
    """The rows of equally frequent labels that would tell as much, and the degrees of freedom by Satterthwaite."""
    of_label = [max(1.0, rows * share) for share in shares]
    variances = [1 / count for count in of_label]
    parts = sum(v**2 / (DEGREES_PER_ROW * count) for v, count in zip(variances, of_label, strict=True))
    return len(shares) ** 2 / sum(variances), sum(variances) ** 2 / parts


def student_quantile(tail: float, degrees: float) -> float:
    """The value that Student's t exceeds with a probability of ``tail``, below 0.5; ``degrees`` of at least 1.

    G. W. Hill, "Algorithm 396: Student's t-quantiles", Communications of the ACM 13 (1970): to four digits or more.

    >>> round(student_quantile(0.025, 4), 3)
    2.776
    """
    both = 2 * tail
    if degrees < 1.5:
        return cos(both * pi / 2) / sin(both * pi / 2)
    if degrees < 2.5:
        return sqrt(2 / (both * (2 - both)) - 2)
    a = 1 / (degrees - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * sqrt(a * pi / 2) * degrees
    y = exp(2 / degrees * log(d * both))
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(tail)
        y = x**2
        if degrees < 5:
            c += 0.3 * (degrees - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = a * y**2
        y = exp(y) - 1 if y > 0.002 else 0.5 * y**2 + y
    else:
        y = (
            (
                1 / (((degrees + 6) / (degrees * y) - 0.089 * d - 0.822) * (degrees + 2) * 3)
                + 0.5 / (degrees + 4)
            )
            * y
            - 1
        ) * (degrees + 1) / (degrees + 2) + 1 / y
    return sqrt(degrees * y)
