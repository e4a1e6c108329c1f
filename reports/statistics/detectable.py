"""Which difference a comparison would tell before anything is measured, under stated assumptions.

Source: J. M. Lachin, Controlled Clinical Trials 2 (1981); for paired shares of rows R. J. Connor, "Sample size for
testing differences in proportions for the paired-sample design", Biometrics 43 (1987). Needs no scipy, which takes as
long to import as a whole ``paretune plan``.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from reports.statistics.looks import FIRST

POWER = 0.8


def detectable_difference(rows: int, seeds: int, pairs: int, *, row_variance: float, seed_sd: float) -> float:
    """The smallest true difference that is found with a probability of 80 %, in the unit of both standard deviations.

    ``rows``: independent test rows. ``seeds`` that each is the mean of. ``pairs`` of which it is one, for which its
    p-value is corrected. ``row_variance``: of one row's difference between two methods; of shares of rows, the share
    of rows in which they differ. ``seed_sd``: between trainings that differ in their seed alone; 0 where one training
    is compared. Raises ``ValueError`` without rows.

    >>> round(detectable_difference(64, 1, 1, row_variance=0.2, seed_sd=0), 3)
    0.162
    """
    if rows < 1:
        raise ValueError("no difference can be told on no rows")
    quantile = NormalDist().inv_cdf
    needed = quantile(1 - FIRST / (2 * max(1, pairs))) + quantile(POWER)
    return needed * sqrt(row_variance / rows + 2 * seed_sd**2 / max(1, seeds))
