"""Figures without the error of floating-point sums, so that equal ones are equal wherever they are compared.

The mean of 22/23 and 20/23 is 2 ** -53 larger than that of 21/23 and 21/23, and would be the best of the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DIGITS = 12  # of 16 that a float has; sums of a million rows are exact to 13 or more


def rounded(value: float) -> float:
    """The value with :data:`DIGITS` significant digits.

    >>> rounded((22 / 23 + 20 / 23) / 2) == rounded((21 / 23 + 21 / 23) / 2)
    True
    """
    return float(f"{value:.{DIGITS}g}")


def rounded_decimals(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values with :data:`DIGITS` digits after the point."""
    return np.round(values, DIGITS)
