"""What the best of k random trials is expected to reach, from trials that were drawn at random and ran to the end.

Source: J. Dodge et al., "Show Your Work", EMNLP 2019, in the unbiased form of R. Tang et al., "Showing Your Work
Doesn't Always Work", ACL 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb


def expected_best(results: Sequence[float]) -> list[float]:
    """The mean best of all sets of 1, 2, ... of the results, higher is better.

    >>> expected_best([1.0, 3.0, 2.0])
    [2.0, 2.6666666666666665, 3.0]
    """
    ordered, count = sorted(results), len(results)
    return [
        sum(comb(rank, size - 1) * value for rank, value in enumerate(ordered)) / comb(count, size)
        for size in range(1, count + 1)
    ]
