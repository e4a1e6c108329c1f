"""What the cells that need less memory than the recommended one cost in quality."""

from __future__ import annotations

from math import isinf

from reports import units
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.statistics.pareto import EQUAL_PEAKS
from reports.statistics.verdicts import Verdict
from reports.text import joined, text


def cheaper_cells(group: Group, row: Row) -> str | None:
    """What the cells on the front that need less memory cost in quality: the best of these, and the cheapest."""
    if row.peak is None:
        return None
    limit = row.peak * (1 - EQUAL_PEAKS)
    cheaper = [
        (other, other.peak)
        for other in group.scored_rows
        if other.on_front and other.peak is not None and other.peak < limit
    ]
    if not cheaper:
        return None
    # Rows are ordered by quality, and on the front a lower quality needs less memory: the last is the cheapest.
    named = cheaper if len(cheaper) < 3 else [cheaper[0], cheaper[-1]]
    texts = [
        text(
            "{cell} {worse} at {share} of that memory",
            cell=other.name,
            worse=_how_much_worse(group, other, row),
            share=units.percent(peak / row.peak),
        )
        for other, peak in named
    ]
    sentence = text("If memory is short: {cells}.", cells=units.join(texts))
    if not any(_has_only_a_bound(group.verdict(other, row)) for other, _ in named):
        return sentence
    bound = text("'Up to' is a one-sided bound, which lies nearer than the end of an interval.")
    return joined(" ", [sentence, bound])


def _how_much_worse(group: Group, row: Row, other: Row) -> str:
    """What is known of a cell of lower quality: by how much it is worse, or may be."""
    verdict = group.verdict(row, other)
    if verdict.comparison is None or verdict.gain is None or verdict.worst is None:
        return text("has {quality}", quality=row.quality_text)
    measured = units.difference(max(0.0, -verdict.gain), group.unit)
    if verdict.outcome == "as good":
        return text("is as good within the margin ({difference} worse as measured)", difference=measured)
    if verdict.outcome == "worse":
        low, high = sorted(abs(end) for end in verdict.comparison.interval)
        ends = (units.difference(end, group.unit, bare=True) for end in (low, high))
        return text("is {difference} worse (95 %: {ends})", difference=measured, ends=joined(" to ", ends))
    if not _has_only_a_bound(verdict):
        return text(
            "is {difference} worse as measured, on too few test rows to say more", difference=measured
        )
    return text(
        "may be up to {bound} worse ({difference} as measured)",
        bound=units.difference(verdict.worst, group.unit),
        difference=measured,
    )


def _has_only_a_bound(verdict: Verdict) -> bool:
    """Whether of a difference no more is known than how much worse the cell is at most."""
    settled = verdict.outcome in ("as good", "worse")
    return not settled and verdict.worst is not None and not isinf(verdict.worst)
