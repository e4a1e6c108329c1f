"""Whether two trials' qualities differ by more than their error, row by row where the rows are there.

difference(run, lora, run, full).settled   # True, False, or None: no error can be given
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.analysis import uncertainty
from reports.analysis.row_scores import Rows, rows_of
from trainables.results import Record, Run


@dataclass(frozen=True)
class Difference:
    """``settled`` is ``None`` where the error is not known. ``how`` says by what it was judged."""

    settled: bool | None
    how: str


def difference(one_run: Run, one: Record, other_run: Run, other: Record) -> Difference:
    """Judges the difference of two qualities at the 5 % level, by the best means that the records allow."""
    mine, theirs = rows_of(one_run, one), rows_of(other_run, other)
    if mine is not None and theirs is not None and mine.asked == theirs.asked:
        return _by_row(mine, theirs)
    if one.quality is None or other.quality is None:
        return Difference(None, "not measured")
    if one.quality_unit == "fraction" and one.test_rows and other.test_rows:
        low, high = uncertainty.newcombe(one.quality, one.test_rows, other.quality, other.test_rows)
        return Difference(low > 0 or high < 0, f"two standard errors of {one.test_rows} test rows")
    if mine is not None and theirs is not None:
        return _by_other_rows(mine, theirs)
    return Difference(None, "no scores by row")


def _by_row(one: Rows, other: Rows) -> Difference:
    count = len(one.asked)
    if one.ranked or other.ranked:
        low, high = uncertainty.drawn_difference(count, one.of, other.of)
    elif one.weights and other.weights:
        low, high = uncertainty.paired_difference(one.scores, one.weights, other.scores, other.weights)
    else:
        pairs = list(zip(one.scores, other.scores, strict=True))
        if all(score in (0.0, 1.0) for pair in pairs for score in pair):
            p = uncertainty.mcnemar(pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0)))
            return Difference(p < 0.05, f"McNemar's exact test on {count} rows, p = {p:.2g}")
        low, high = uncertainty.paired_bootstrap([one - other for one, other in pairs])
    return Difference(_settled(count, low, high), f"paired bootstrap over {count} rows")


def _by_other_rows(one: Rows, other: Rows) -> Difference:
    counts = len(one.asked), len(other.asked)
    low, high = uncertainty.drawn_apart(counts[0], one.of, counts[1], other.of)
    settled = _settled(min(counts), low, high)
    return Difference(settled, f"bootstrap over {counts[0]} rows and {counts[1]} others")


def _settled(rows: int, low: float, high: float) -> bool:
    return rows >= uncertainty.LEAST and (low > 0 or high < 0)
