"""Whether one cell's quality is better than another's: the tests of every two cells, one-sided (``verdicts``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reports.claims.cells import NamedCells
from reports.claims.claim import PairClaim
from reports.claims.differences import cells_difference
from reports.claims.judgement import Judgement, OpenDifference, not_judged
from reports.statistics.one_sided import all_of


@dataclass(frozen=True)
class Better(PairClaim):
    """``a`` is better than ``b``, by however little."""

    kind: ClassVar[str] = "better"

    def statement(self, cells: NamedCells) -> str:
        return f"{self.a} is better than {self.b}"

    def judge(self, cells: NamedCells) -> Judgement:
        if (obstacle := cells.without_quality()) is not None:
            return not_judged(obstacle)
        assert cells.group is not None
        row, against = cells.rows
        difference = cells_difference(cells.group, row, against)
        # As in a verdict the test and the interval have to agree. Of several seeds the tests are sign flips and
        # t-tests, which are symmetric: half of the two-sided p-value is the one-sided one.
        by_test = difference.comparison().p / 2
        above, below = difference.gain_ps(0.0)
        return Judgement(
            (difference.figure(),),
            all_of(above, by_test if difference.gain > 0 else 1.0),
            all_of(below, by_test if difference.gain < 0 else 1.0),
            open=OpenDifference(cells.group, row, against, lambda gain: gain),
        )
