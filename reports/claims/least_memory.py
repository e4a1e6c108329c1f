"""Whether one cell needs at most a share of another's memory, and is not worse by a margin.

Both parts have to hold (Berger, 1982; see ``reports.statistics.one_sided``). The memory is measured: its part is
decided by the peaks of all trainings that the cells are judged by, where these, and what measured peaks repeat within,
leave no doubt; the quality by the one-sided bound of ``within``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from reports import units
from reports.claims.cells import NamedCells
from reports.claims.claim import PairClaim, Positive
from reports.claims.differences import cells_difference
from reports.claims.judgement import Judgement, OpenDifference, not_judged
from reports.claims.measured_peaks import memory_share
from reports.claims.within import non_inferiority
from reports.statistics.one_sided import all_of
from reports.statistics.pareto import EQUAL_PEAKS
from reports.text import text


@dataclass(frozen=True)
class LeastMemory(PairClaim):
    """The measured peak of ``a`` is at most ``share`` of that of ``b``, and its quality is worse by less than
    ``margin``.
    """

    kind: ClassVar[str] = "least_memory"
    share: Annotated[float, Field(gt=0, lt=1)]
    margin: Positive

    def statement(self, cells: NamedCells) -> str:
        share, margin = units.percent(self.share), units.difference(self.margin, cells.unit)
        return text(
            "{one} needs at most {share} of {other}'s memory and is at most {margin} worse",
            one=self.a,
            other=self.b,
            share=share,
            margin=margin,
        )

    def judge(self, cells: NamedCells) -> Judgement:
        if cells.obstacle is not None:
            return not_judged(cells.obstacle)
        row, against = cells.rows
        memory = memory_share(row, against)
        if isinstance(memory, str):
            return not_judged(memory)
        if (obstacle := cells.without_quality(self.margin)) is not None:
            return not_judged(obstacle, memory)
        assert cells.group is not None
        low, high = memory.interval
        assert low is not None
        assert high is not None
        difference = cells_difference(cells.group, row, against)
        supported, contradicted = non_inferiority(difference, self.margin)
        fits, exceeds = high <= self.share, low > self.share
        return Judgement(
            (memory, difference.figure()),
            all_of(supported, 0.0 if fits else 1.0),
            0.0 if exceeds else contradicted,
            open=OpenDifference(cells.group, row, against, lambda gain: gain + self.margin) if fits else None,
            further=lambda _: text(
                "peaks that are further from the share: measured ones repeat within {share}",
                share=units.percent(EQUAL_PEAKS),
            ),
            tested=fits,
        )
