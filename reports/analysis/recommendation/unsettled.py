"""Which comparisons are not settled, as clauses of the answer: a few one by one, many together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports import units
from reports.analysis import settling
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.analysis.settling import Need
from reports.statistics.verdicts import Verdict

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
    figures = f"{difference}, 95 %: {low} to {high}, p = {verdict.p:.2g}, {verdict.comparison.basis}"
    return f"{row.name} against {other_name} ({figures}; {settling.settling_clause(group, row, other)})"


def _together(group: Group, rows: Sequence[Row], best: Row) -> str:
    """Many comparisons with the best cell: the names, the range of their figures, and what would settle them."""
    verdicts = [group.verdict(row, best) for row in rows]
    differences = [each.comparison.difference for each in verdicts if each.comparison is not None]
    p_values = [each.p for each in verdicts if each.p is not None]
    least, largest = sorted(differences, key=abs)[0], sorted(differences, key=abs)[-1]
    figures = (
        f"differences from {units.difference(least, group.unit, bare=True)} to "
        f"{units.difference(largest, group.unit)}, p from {min(p_values):.2g} to {max(p_values):.2g}"
    )
    names = units.join([row.name for row in rows])
    return (
        f"{len(rows)} cells against {best.name}: {names} ({figures}; what would settle them: "
        f"{_ways(group, rows, best)}; each of them is in the table of every two cells)"
    )


def _ways(group: Group, rows: Sequence[Row], best: Row) -> str:
    """``4 to 40 seeds (for 7 of them, about 2 min to 1 h each) or 210 test rows (about 40 s each)``."""
    needs = [settling.needs(group, row, best) for row in rows]
    every = len(needs)
    seeds = [need for each in needs for need in each if need.rows is None]
    tests = [need for each in needs for need in each if need.seeds is None]
    both = [need for each in needs for need in each if need.seeds is not None and need.rows is not None]
    nothing = sum(not each for each in needs)
    ways = [
        *([f"{_range([need.seeds for need in seeds])} seeds{_for(seeds, every)}"] if seeds else []),
        *([f"{_range([need.rows for need in tests])} test rows{_for(tests, every)}"] if tests else []),
        *([f"more seeds and more test rows together{_for(both, every)}"] if both else []),
        *([f"{settling.TOO_MANY} (for {nothing} of them)"] if 0 < nothing < every else []),
        *([settling.TOO_MANY] if nothing == every else []),
    ]
    return " or ".join(ways)


def _range(counts: Sequence[int | None]) -> str:
    known = [count for count in counts if count is not None]
    low, high = min(known), max(known)
    return str(low) if low == high else f"{low} to {high}"


def _for(needs: Sequence[Need], every: int) -> str:
    """For how many comparisons a way is one, and how long it takes for each of these."""
    seconds = [need.seconds for need in needs if need.seconds is not None]
    details = [
        *([f"for {len(needs)} of them"] if len(needs) < every else []),
        *([f"about {_time(min(seconds), max(seconds))} each"] if seconds else []),
    ]
    return f" ({', '.join(details)})" if details else ""


def _time(low: float, high: float) -> str:
    """``2 min``, or ``40 s to 2 min``."""
    return " to ".join(dict.fromkeys(map(units.duration, (low, high))))
