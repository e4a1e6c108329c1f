"""What is known of the differences between cells: better, worse, as good, or not settled.

A difference is settled where its p-value, corrected for the number of pairs in the group, is below the level of this
look at the run (``looks``) and its interval excludes 0. A cell is as good as another where the one-sided bound of its
difference, of the same error, lies within the margin: a difference that is not settled is no proof of equality.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from reports.statistics.comparisons import Comparison, compare_estimates, holm
from reports.statistics.estimates import Estimate
from reports.statistics.intervals import SeedVariance
from reports.statistics.looks import level

Outcome = Literal["better", "worse", "as good", "not settled", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """What is known of one cell's quality against another's.

    ``comparison`` has the difference, one minus other, in the quality's own unit; ``None`` where there are no scores to
    compare. ``gain`` is the difference in the direction that is better. ``p`` is corrected by Holm's procedure.
    ``worst`` is how much worse the one may be: the one-sided bound, at least 0; infinite where rows are too few.
    ``settled``: whether the difference exceeds its error, also within the margin.
    """

    outcome: Outcome
    comparison: Comparison | None = None
    gain: float | None = None
    p: float | None = None
    worst: float | None = None
    settled: bool = False


def verdicts(
    estimates: Mapping[str, Estimate | None],
    seeds: SeedVariance | None,
    *,
    higher_is_better: bool,
    margin: float | None,
    look_of: Callable[[str, str], int] = lambda one, other: 1,
) -> dict[tuple[str, str], Verdict]:
    """The verdict of every ordered pair of cells, by their labels.

    ``seeds``: the variance between seeds; ``None`` where each cell was trained once, and the verdicts are of these
    trained models alone. ``margin``: how much worse a cell may be and still be as good, in the quality's unit; ``None``
    where there is none. ``look_of``: the look at the run by whose error two cells are judged, by their labels, from 1.
    """
    known = {label: estimate for label, estimate in estimates.items() if estimate is not None}
    pairs = list(combinations(known, 2))
    errors = [level(look_of(one, other)) for one, other in pairs]
    compared = [
        compare_estimates(known[one], known[other], seeds, error)
        for (one, other), error in zip(pairs, errors, strict=True)
    ]
    corrected = holm([comparison.p for comparison in compared])
    found: dict[tuple[str, str], Verdict] = {}
    for (one, other), comparison, p, error in zip(pairs, compared, corrected, errors, strict=True):
        found[one, other] = _verdict(comparison, p, error, higher_is_better, margin)
        found[other, one] = _verdict(_reversed(comparison), p, error, higher_is_better, margin)
    unknown = Verdict("unknown")
    return {
        (one, other): found.get((one, other), unknown)
        for one in estimates
        for other in estimates
        if one != other
    }


def _verdict(
    comparison: Comparison, p: float, error: float, higher_is_better: bool, margin: float | None
) -> Verdict:
    gain = comparison.difference if higher_is_better else -comparison.difference
    worst = max(0.0, -comparison.at_least if higher_is_better else comparison.at_most)
    low, high = comparison.interval
    settled = p < error and (low > 0 or high < 0)
    outcome: Outcome = "not settled"
    if settled and gain > 0:
        outcome = "better"
    elif margin is not None and worst < margin:
        outcome = "as good"
    elif settled:
        outcome = "worse"
    return Verdict(outcome, comparison, gain, p, worst, settled)


def _reversed(comparison: Comparison) -> Comparison:
    low, high = comparison.interval
    # From 0, as the opposite of 0.0 would be -0.0.
    return Comparison(
        0 - comparison.difference,
        (0 - high, 0 - low),
        0 - comparison.at_most,
        0 - comparison.at_least,
        comparison.p,
        comparison.basis,
    )
