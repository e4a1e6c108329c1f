"""How certain a verdict has to be where a run is looked at again after more seeds or test rows were added.

Testing at 5 % again and again until something is settled is wrong more often than in 5 % of cases. So the error is
spent: 4 % on the first report, and half of what is left of the other 1 % on each later one, in all 5 %. No use is made
of how the looks depend on one another, so how much is added may follow from what the report says.

Source: K. K. G. Lan and D. L. DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70 (1983), for
spending an error over looks; the sum of the levels is Bonferroni's bound.
"""

from __future__ import annotations

FIRST, LATER = 0.04, 0.01  # what the first look spends, and all later ones together


def level(look: int) -> float:
    """The error that the ``look``-th report of a run spends, from 1.

    >>> [level(look) for look in (1, 2, 3)]
    [0.04, 0.005, 0.0025]
    """
    return FIRST if look <= 1 else LATER / 2 ** (look - 1)
