"""Which comparisons are not settled, as clauses of the answer: a few one by one, many together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports import units
from reports.analysis import settling
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.analysis.settling import Need
from reports.statistics.verdicts import Verdict
from reports.text import joined, text

MOST_ONE_BY_ONE = 3  # cells with a clause each; more are named together


def against_the_best(group: Group) -> Iterator[str]:
    """The cells whose difference from the best cell is not settled."""
    best, *others = group.scored_rows
    rows = [row for row in others if group.verdict(row, best).outcome == "not settled"]
    if len(rows) > MOST_ONE_BY_ONE:
        yield _together(group, rows, best)
        return
    for row in rows:
        yield _one(group, row, best, group.verdict(row, best), best.name)


def against_the_base(group: Group, recommended: Row) -> Iterator[str]:
    """The recommended cell, where its difference from what it was trained from is not settled."""
    base = group.base_of(recommended)
    verdict = group.verdict_on_training(recommended)
    if base is not None and verdict.comparison is not None and not verdict.settled:
        yield _one(group, recommended, base, verdict, base.description)


def _one(group: Group, row: Row, other: Row, verdict: Verdict, other_name: str) -> str:
    """A comparison with its difference, interval, p-value and test, and what would settle it."""
    assert verdict.comparison is not None
    assert verdict.p is not None
    low, high = (units.difference(end, group.unit, bare=True) for end in verdict.comparison.interval)
    difference = units.difference(verdict.comparison.difference, group.unit)
    return text(
        "{cell} against {other} ({difference}, 95 %: {ends}, p = {p}, {basis}; {settled_by})",
        cell=row.name,
        other=other_name,
        difference=difference,
        ends=joined(" to ", [low, high]),
        p=f"{verdict.p:.2g}",
        basis=verdict.comparison.basis,
        settled_by=settling.settling_clause(group, row, other),
    )


def _together(group: Group, rows: Sequence[Row], best: Row) -> str:
    """Many comparisons with the best cell: the names, the range of their figures, and what would settle them."""
    verdicts = [group.verdict(row, best) for row in rows]
    differences = [each.comparison.difference for each in verdicts if each.comparison is not None]
    p_values = [each.p for each in verdicts if each.p is not None]
    least, largest = sorted(differences, key=abs)[0], sorted(differences, key=abs)[-1]
    return text(
        "{count} cells against {best}: {cells} (differences from {least} to {largest}, p from {least_p} to "
        "{largest_p}; what would settle them: {ways}; each of them is in the table of every two cells)",
        count=len(rows),
        best=best.name,
        cells=units.join([row.name for row in rows]),
        least=units.difference(least, group.unit, bare=True),
        largest=units.difference(largest, group.unit),
        least_p=f"{min(p_values):.2g}",
        largest_p=f"{max(p_values):.2g}",
        ways=_ways(group, rows, best),
    )


def _ways(group: Group, rows: Sequence[Row], best: Row) -> str:
    """``4 to 40 seeds (for 7 of them, about 2 min to 1 h each) or 210 test rows (about 40 s each)``."""
    needs = [settling.needs(group, row, best) for row in rows]
    every = len(needs)
    seeds = [need for each in needs for need in each if need.rows is None]
    tests = [need for each in needs for need in each if need.seeds is None]
    both = [need for each in needs for need in each if need.seeds is not None and need.rows is not None]
    nothing = sum(not each for each in needs)
    ways = list[str]()
    if seeds:
        ways.append(_way(text("{count} seeds", count=_range([need.seeds for need in seeds])), seeds, every))
    if tests:
        ways.append(
            _way(text("{count} test rows", count=_range([need.rows for need in tests])), tests, every)
        )
    if both:
        ways.append(_way(text("more seeds and more test rows together"), both, every))
    if nothing:
        few = [text("for {count} of them", count=nothing)] if nothing < every else []
        ways.append(_detailed(settling.TOO_MANY, few))
    return joined(" or ", ways)


def _range(counts: Sequence[int | None]) -> str:
    known = [count for count in counts if count is not None]
    low, high = min(known), max(known)
    return joined(" to ", dict.fromkeys(map(str, (low, high))))


def _way(amount: str, needs: Sequence[Need], every: int) -> str:
    """A way to settle some comparisons, for how many it is one, and how long it takes for each of these."""
    seconds = [need.seconds for need in needs if need.seconds is not None]
    details = list[str]()
    if len(needs) < every:
        details.append(text("for {count} of them", count=len(needs)))
    if seconds:
        details.append(text("about {time} each", time=_time(min(seconds), max(seconds))))
    return _detailed(amount, details)


def _detailed(amount: str, details: Sequence[str]) -> str:
    return text("{amount} ({details})", amount=amount, details=joined(", ", details)) if details else amount


def _time(low: float, high: float) -> str:
    """``2 min``, or ``40 s to 2 min``."""
    return joined(" to ", dict.fromkeys(map(units.duration, (low, high))))
