"""Whether one cell's quality is not worse than another's by a margin, or differs by less than it.

Non-inferiority by a one-sided bound (Piaggio and others, 2012), equivalence by two one-sided tests (Schuirmann, 1987):
see ``reports.statistics.one_sided``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reports import units
from reports.claims.cells import NamedCells
from reports.claims.claim import PairClaim, Positive
from reports.claims.differences import Difference, cells_difference
from reports.claims.judgement import Judgement, OpenDifference, not_judged
from reports.statistics.one_sided import all_of, any_of
from reports.text import text


@dataclass(frozen=True)
class Within(PairClaim):
    """``a`` is worse than ``b`` by less than ``margin``; with ``both`` neither is worse than the other by it."""

    kind: ClassVar[str] = "within"
    margin: Positive
    both: bool = False

    def statement(self, cells: NamedCells) -> str:
        margin = units.difference(self.margin, cells.unit)
        if self.both:
            return text(
                "{one} and {other} differ by at most {margin}", one=self.a, other=self.b, margin=margin
            )
        return text("{one} is at most {margin} worse than {other}", one=self.a, other=self.b, margin=margin)

    def judge(self, cells: NamedCells) -> Judgement:
        if (obstacle := cells.without_quality(self.margin)) is not None:
            return not_judged(obstacle)
        assert cells.group is not None
        row, against = cells.rows
        difference = cells_difference(cells.group, row, against)
        test, distance = (equivalence, _inside) if self.both else (non_inferiority, _above)
        supported, contradicted = test(difference, self.margin)
        return Judgement(
            (difference.figure(),),
            supported,
            contradicted,
            open=OpenDifference(cells.group, row, against, lambda gain: distance(gain, self.margin)),
        )


def non_inferiority(difference: Difference, margin: float) -> tuple[float, float]:
    """The p-values for and against a difference that is worse by less than the margin."""
    return difference.gain_ps(-margin)


def equivalence(difference: Difference, margin: float) -> tuple[float, float]:
    """The p-values for and against a difference of less than the margin in either direction."""
    not_worse, worse = difference.gain_ps(-margin)
    better, not_better = difference.gain_ps(margin)
    return all_of(not_worse, not_better), any_of((worse, better))


def _above(gain: float, margin: float) -> float:
    return gain + margin


def _inside(gain: float, margin: float) -> float:
    return margin - abs(gain)
