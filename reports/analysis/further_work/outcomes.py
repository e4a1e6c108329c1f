"""What a run's report says of each comparison with the best cell, in a line."""

from __future__ import annotations

from pathlib import Path

from reports import units
from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.row import Row
from trainables import results


def outcomes(run: Path) -> dict[str, str]:
    """By the comparison's name: ``worse (-3.1 points, 95 %: -5.4 to -0.8, sign flips on 119 rows, 5 seeds)``."""
    found = {}
    for group in compare([results.gather_run(run)]):
        for row in group.scored_rows[1:]:
            best = group.scored_rows[0]
            verdict = group.verdict(row, best)
            if verdict.comparison is not None:
                low, high = (
                    units.difference(end, group.unit, bare=True) for end in verdict.comparison.interval
                )
                difference = units.difference(verdict.comparison.difference, group.unit)
                name = comparison_name(group, row, best)
                found[name] = (
                    f"{verdict.outcome} ({difference}, 95 %: {low} to {high}, {verdict.comparison.basis})"
                )
    return found


def settled_pairs(run: Path) -> list[tuple[str, str]]:
    """The cells, by their names, whose difference the report of a run has settled, with the models before training."""
    pairs: dict[tuple[str, str], None] = {}
    for group in compare([results.gather_run(run)]):
        names = {row.cell.label: row.cell.name for row in group.all_rows}
        for (one, other), verdict in group.verdicts.items():
            if one < other and verdict.outcome in ("better", "worse", "as good"):
                pairs[names[one], names[other]] = None
        for row in group.scored_rows:
            base = group.base_of(row)
            if base is not None and group.verdict_on_training(row).settled:
                pairs[row.cell.name, base.cell.name] = None
    return list(pairs)


def comparison_name(group: Group, row: Row, against: Row) -> str:
    return f"{row.name} against {against.display_name} ({group.title})"
