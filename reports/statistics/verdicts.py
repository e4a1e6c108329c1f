"""What is known of the differences between cells: better, worse, as good, or not settled.

A difference is settled where its p-value, corrected for the number of pairs in the group, is below 5 % and its interval
excludes 0. A cell is as good as another where the one-sided 95 % bound of its difference lies within the margin: a
difference that is not settled is no proof of equality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from reports.statistics.comparisons import Comparison, compare_estimates, holm
from reports.statistics.estimates import Estimate
from reports.statistics.intervals import SeedVariance

LEVEL = 0.05
Outcome = Literal["better", "worse", "as good", "not settled", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """What is known of one cell's quality against another's.

    ``comparison`` has the difference, one minus other, in the quality's own unit; ``None`` where there are no scores to
    compare. ``gain`` is the difference in the direction that is better. ``p`` is corrected by Holm's procedure.
    ``worst`` is how much worse the one may be: the one-sided 95 % bound, at least 0; infinite where rows are too few.
    """

    outcome: Outcome
    comparison: Comparison | None = None
    gain: float | None = None
    p: float | None = None
    worst: float | None = None

    @property
    def settled(self) -> bool:
        """Whether the difference exceeds its error, also within the margin."""
        return self.comparison is not None and self.p is not None and is_settled(self.comparison, self.p)


def is_settled(comparison: Comparison, p: float) -> bool:
    """Whether a difference with this p-value, corrected where there are several, exceeds its error."""
    low, high = comparison.interval
    return p < LEVEL and (low > 0 or high < 0)


def verdicts(
    estimates: Mapping[str, Estimate | None],
    seeds: SeedVariance | None,
    *,
    higher_is_better: bool,
    margin: float | None,
) -> dict[tuple[str, str], Verdict]:
    """The verdict of every ordered pair of cells, by their labels.

    ``seeds``: the variance between seeds; ``None`` where each cell was trained once, and the verdicts are of these
    trained models alone. ``margin``: how much worse a cell may be and still be as good, in the quality's unit; ``None``
    where there is none.
    """
    known = {label: estimate for label, estimate in estimates.items() if estimate is not None}
    pairs = list(combinations(known, 2))
    compared = [compare_estimates(known[one], known[other], seeds) for one, other in pairs]
    corrected = holm([comparison.p for comparison in compared])
    found: dict[tuple[str, str], Verdict] = {}
    for (one, other), comparison, p in zip(pairs, compared, corrected, strict=True):
        found[one, other] = _verdict(comparison, p, higher_is_better, margin)
        found[other, one] = _verdict(_reversed(comparison), p, higher_is_better, margin)
    unknown = Verdict("unknown")
    return {
        (one, other): found.get((one, other), unknown)
        for one in estimates
        for other in estimates
        if one != other
    }


def _verdict(comparison: Comparison, p: float, higher_is_better: bool, margin: float | None) -> Verdict:
    gain = comparison.difference if higher_is_better else -comparison.difference
    worst = max(0.0, -comparison.at_least if higher_is_better else comparison.at_most)
    settled = is_settled(comparison, p)
    outcome: Outcome = "not settled"
    if settled and gain > 0:
        outcome = "better"
    elif margin is not None and worst < margin:
        outcome = "as good"
    elif settled:
        outcome = "worse"
    return Verdict(outcome, comparison, gain, p, worst)


def _reversed(comparison: Comparison) -> Comparison:
    low, high = comparison.interval
    return Comparison(
        -comparison.difference,
        (-high, -low),
        -comparison.at_most,
        -comparison.at_least,
        comparison.p,
        comparison.basis,
    )
