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
    """``4 to 40 seeds (for 7 of them), 210 to 3000 test rows``."""
    needs = [settling.needs(group, row, best) for row in rows]
    every = len(needs)
    seeds = [need.seeds for each in needs for need in each if need.seeds is not None and need.rows is None]
    tests = [need.rows for each in needs for need in each if need.rows is not None and need.seeds is None]
    both = sum(any(_is_of_both(need) for need in each) for each in needs)
    nothing = sum(not each for each in needs)
    ways = [
        *([f"{_range(seeds)} seeds{_for(len(seeds), every)}"] if seeds else []),
        *([f"{_range(tests)} test rows{_for(len(tests), every)}"] if tests else []),
        *([f"more seeds and more test rows together{_for(both, every)}"] if both else []),
        *([f"{settling.TOO_MANY}{_for(nothing, every)}"] if nothing else []),
    ]
    return " or ".join(ways)


def _is_of_both(need: Need) -> bool:
    return need.seeds is not None and need.rows is not None


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _for(some: int, every: int) -> str:
    return "" if some == every else f" (for {some} of them)"
