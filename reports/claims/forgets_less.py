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
from reports.claims.cells import NamedCells, one_seed
from reports.claims.claim import Name, PairClaim
from reports.claims.differences import Difference
from reports.claims.judgement import Figure, Judgement, not_judged
from reports.statistics.comparisons import MIN_CLUSTERS
from reports.text import text


@dataclass(frozen=True)
class ForgetsLess(PairClaim):
    """The evaluation set called ``set`` (the only further one, where it is left out) gets worse by less in the training
    of ``a`` than in that of ``b``: its loss rises, or its score falls, by less.
    """

    kind: ClassVar[str] = "forgets_less"
    set: Name | None = None

    def statement(self, cells: NamedCells) -> str:
        found = self._set(cells)
        name = found.name if isinstance(found, SetResults) else self.set
        if name is None:
            return text("{one} forgets less than {other}", one=self.a, other=self.b)
        return text("{one} forgets less of {name} than {other}", one=self.a, other=self.b, name=name)

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
        name = text(
            "{name}, {measure} of {one} minus {other}",
            name=found.name,
            measure=units.readable(found.quality_name),
            one=row.name,
            other=against.name,
        )
        difference = Difference(found, one, other, name)
        return Judgement(
            (difference.figure(), *_losses(found, cells)),
            *difference.direction_ps(),
            further=lambda _: text("more seeds (finalists.seeds) or more rows of {name}", name=found.name),
        )

    def _set(self, cells: NamedCells) -> SetResults | str:
        """The set that is meant, or why there is none."""
        found = cells.group.sets if cells.group is not None else ()
        if not found:
            return text(
                "this run has no second evaluation set (data: {{eval: {{mine: a.jsonl, general: b.jsonl}}}}; paretune "
                "evaluate --forgetting measures one model)"
            )
        names = list(dict.fromkeys(each.name for each in found))
        if self.set is None and len(names) > 1:
            return text(
                "it names none of the sets {names} (set: {name})", names=units.join(names), name=names[0]
            )
        named = [each for each in found if self.set in (each.name, None)]
        if not named:
            return text(
                "there is no evaluation set {name}; there is {names}", name=self.set, names=units.join(names)
            )
        return _of_both(named, cells.rows)


def _of_both(named: list[SetResults], rows: tuple[Row, ...]) -> SetResults | str:
    """Of the sets of one name that whose rows all cells were scored on, or why there is none."""
    most = max(named, key=lambda each: sum(each.quality(row) is not None for row in rows))
    for row in rows:
        other = next((each for each in named if each.quality(row) is not None), None)
        if most.quality(row) is None and other is not None:
            return text(
                "{cell} was scored on other data called {name} ({data}) than {others} ({other_data})",
                cell=row.name,
                name=most.name,
                data=other.title,
                others=units.join([each.name for each in rows if most.quality(each) is not None]),
                other_data=most.title,
            )
    return most


def _obstacle(found: SetResults, rows: tuple[Row, ...]) -> str | None:
    """Why what two cells forget can't be compared."""
    if len({row.start for row in rows}) > 1:
        return text(
            "{cells} start from different models, which know different things",
            cells=units.join([row.name for row in rows]),
        )
    for row in rows:
        estimate = found.estimates.get(row.cell.label)
        if estimate is None:
            return text("the scores of {cell} by row of {name} are missing", cell=row.name, name=found.name)
        if estimate.clusters < MIN_CLUSTERS:
            return text("{name} has fewer than {count} independent rows", name=found.name, count=MIN_CLUSTERS)
        if estimate.seeds < 2:
            return one_seed(row)
    return None


def _losses(found: SetResults, cells: NamedCells) -> Iterator[Figure]:
    """By how much the set got worse in the training of each cell, where the model before training was scored on it."""
    assert cells.group is not None
    for row in cells.rows:
        if (change := lost(cells.group, found, row)) is not None:
            ends = change.interval or (None, None)
            yield Figure(text("{cell} lost", cell=row.name), "difference", change.value, ends, found.unit)
