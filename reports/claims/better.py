"""Whether one cell's quality is better than another's: the tests of every two cells, one-sided (``verdicts``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reports.claims.cells import NamedCells
from reports.claims.claim import PairClaim
from reports.claims.differences import cells_difference
from reports.claims.judgement import Judgement, OpenDifference, not_judged
from reports.text import text


@dataclass(frozen=True)
class Better(PairClaim):
    """``a`` is better than ``b``, by however little."""

    kind: ClassVar[str] = "better"

    def statement(self, cells: NamedCells) -> str:
        return text("{one} is better than {other}", one=self.a, other=self.b)

    def judge(self, cells: NamedCells) -> Judgement:
        if (obstacle := cells.without_quality()) is not None:
            return not_judged(obstacle)
        assert cells.group is not None
        row, against = cells.rows
        difference = cells_difference(cells.group, row, against)
        return Judgement(
            (difference.figure(),),
            *difference.direction_ps(),
            open=OpenDifference(cells.group, row, against, lambda gain: gain),
        )
