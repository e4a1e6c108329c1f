"""Whether two trials' qualities differ by more than their error, row by row where the rows' scores are there.

difference(run, lora, run, full).settled   # True, False, or None: the error is not known
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.analysis import uncertainty
from reports.analysis.row_scores import RowScores, row_scores
from trainables.results import Record, Run

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """``settled``: whether the difference exceeds its error, ``None`` where the error is not known.

    ``basis``: the test or interval that decided, and on how many rows.
    """

    settled: bool | None
    basis: str


def difference(first_run: Run, first: Record, second_run: Run, second: Record) -> Difference:
    """Tests the difference of two qualities at the 5 % level, by the best means that the records allow."""
    first_rows, second_rows = row_scores(first_run, first), row_scores(second_run, second)
    if first_rows is not None and second_rows is not None and first_rows.keys == second_rows.keys:
        return _over_same_rows(first_rows, second_rows)
    if first.quality is None or second.quality is None:
        return Difference(None, "not measured")
    # A share needs only the counts, which records without predictions have too.
    if first.quality_unit == "fraction" and first.test_rows and second.test_rows:
        low, high = uncertainty.newcombe(first.quality, first.test_rows, second.quality, second.test_rows)
        return Difference(low > 0 or high < 0, f"Newcombe's 95 % interval on {first.test_rows} test rows")
    if first_rows is not None and second_rows is not None:
        return _over_different_rows(first_rows, second_rows)
    return Difference(None, "no scores by row")


def _over_same_rows(first: RowScores, second: RowScores) -> Difference:
    count = len(first.keys)
    # An AUC is a measure of all rows at once, and a weighted mean needs the weights of each resample.
    if first.is_auc or second.is_auc:
        low, high = uncertainty.paired_measure_difference(count, first.quality_of, second.quality_of)
    elif first.weights and second.weights:
        low, high = uncertainty.paired_difference(first.scores, first.weights, second.scores, second.weights)
    else:
        pairs = list(zip(first.scores, second.scores, strict=True))
        # Right or wrong: the exact test needs only the rows on which the two disagree.
        if all(score in (0.0, 1.0) for pair in pairs for score in pair):
            p = uncertainty.mcnemar(pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0)))
            return Difference(p < LEVEL, f"McNemar's exact test on {count} rows, p = {p:.2g}")
        low, high = uncertainty.paired_bootstrap([one - other for one, other in pairs])
    return Difference(_excludes_zero(count, low, high), f"paired bootstrap over {count} rows")


def _over_different_rows(first: RowScores, second: RowScores) -> Difference:
    counts = len(first.keys), len(second.keys)
    low, high = uncertainty.unpaired_measure_difference(
        counts[0], first.quality_of, counts[1], second.quality_of
    )
    settled = _excludes_zero(min(counts), low, high)
    return Difference(settled, f"bootstrap over {counts[0]} rows and {counts[1]} other rows")


def _excludes_zero(rows: int, low: float, high: float) -> bool:
    return rows >= uncertainty.MIN_ROWS and (low > 0 or high < 0)
