"""Whether one cell forgets less than another: whether a further evaluation set gets worse by less in its training.

Both start from one model and are scored on the same rows, so that what a loss rises by, or a score falls by, differs by
as much as the losses or scores after training, row by row.
The tests are those of ``better``: sign flips over rows, and t over rows and seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from reports import units
from reports.analysis.changes import lost
from reports.analysis.evaluation_sets import SetResults
from reports.analysis.row import Row
from reports.claims.cells import MORE_SEEDS, NamedCells
from reports.claims.claim import Name, PairClaim
from reports.claims.differences import Difference
from reports.claims.judgement import Figure, Judgement, not_judged
from reports.statistics.comparisons import MIN_CLUSTERS


@dataclass(frozen=True)
class ForgetsLess(PairClaim):
    """The evaluation set called ``set`` (the only further one, where it is left out) gets worse by less in the training
    of ``a`` than in that of ``b``: its loss rises, or its score falls, by less.
    """

    kind: ClassVar[str] = "forgets_less"
    set: Name | None = None

    def statement(self, cells: NamedCells) -> str:
        found = self._set(cells)
        what = f" of {found.name}" if isinstance(found, SetResults) else f" of {self.set}" if self.set else ""
        return f"{self.a} forgets less{what} than {self.b}"

    def judge(self, cells: NamedCells) -> Judgement:
        if cells.obstacle is not None:
            return not_judged(cells.obstacle)
        found = self._set(cells)
        if isinstance(found, str):
            return not_judged(found)
        if (obstacle := _obstacle(found, cells.rows)) is not None:
            return not_judged(obstacle)
        row, against = cells.rows
        one, other = (found.estimates[each.cell.label] for each in (row, against))
        name = f"{found.name}, {units.readable(found.quality_name)} of {row.name} minus {against.name}"
        difference = Difference(found, one, other, name)
        return Judgement(
            (difference.figure(), *_losses(found, cells)),
            *difference.direction_ps(),
            further=lambda _: f"more seeds (finalists.seeds) or more rows of {found.name}",
        )

    def _set(self, cells: NamedCells) -> SetResults | str:
        """The set that is meant, or why there is none."""
        found = cells.group.sets if cells.group is not None else ()
        if not found:
            return (
                "this run has no second evaluation set (data: {eval: {mine: a.jsonl, general: b.jsonl}}; paretune "
                "evaluate --forgetting measures one model)"
            )
        names = list(dict.fromkeys(each.name for each in found))
        if self.set is None and len(names) > 1:
            return f"it names none of the sets {units.join(names)} (set: {names[0]})"
        named = [each for each in found if self.set in (each.name, None)]
        if not named:
            return f"there is no evaluation set {self.set}; there is {units.join(names)}"
        return _of_both(named, cells.rows)


def _of_both(named: list[SetResults], rows: tuple[Row, ...]) -> SetResults | str:
    """Of the sets of one name that whose rows all cells were scored on, or why there is none."""
    most = max(named, key=lambda each: sum(each.quality(row) is not None for row in rows))
    for row in rows:
        other = next((each for each in named if each.quality(row) is not None), None)
        if most.quality(row) is None and other is not None:
            return (
                f"{row.name} was scored on other data called {most.name} ({other.title}) than "
                f"{units.join([each.name for each in rows if most.quality(each) is not None])} ({most.title})"
            )
    return most


def _obstacle(found: SetResults, rows: tuple[Row, ...]) -> str | None:
    """Why what two cells forget can't be compared."""
    if len({row.start for row in rows}) > 1:
        return f"{units.join([row.name for row in rows])} start from different models, which know different things"
    for row in rows:
        estimate = found.estimates.get(row.cell.label)
        if estimate is None:
            return f"the scores of {row.name} by row of {found.name} are missing"
        if estimate.clusters < MIN_CLUSTERS:
            return f"{found.name} has fewer than {MIN_CLUSTERS} independent rows"
        if estimate.seeds < 2:
            return f"{row.name} was trained with one seed; what others would give is not known {MORE_SEEDS}"
    return None


def _losses(found: SetResults, cells: NamedCells) -> Iterator[Figure]:
    """By how much the set got worse in the training of each cell, where the model before training was scored on it."""
    assert cells.group is not None
    for row in cells.rows:
        if (change := lost(cells.group, found, row)) is not None:
            ends = change.interval or (None, None)
            yield Figure(f"{row.name} lost", "difference", change.value, ends, found.unit)
