"""Whether one cell's measured memory is so many times another's, or whether it saves what its weights save.

It is decided by the peaks of all trainings that the cells are judged by, where these, and what measured peaks repeat
within, leave no doubt; there is no test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from reports import units
from reports.claims.bounds import bounds_text, check_bounds
from reports.claims.cells import NamedCells
from reports.claims.claim import PairClaim, Positive
from reports.claims.judgement import Judgement, not_judged
from reports.claims.measured_peaks import memory_share, saved_share
from reports.statistics.pareto import EQUAL_PEAKS
from reports.text import text


@dataclass(frozen=True)
class MemoryRatio(PairClaim):
    """The measured peak of ``a`` is ``at_least`` or ``at_most`` so many times that of ``b``, or between both; of
    ``saved``, what the peak of ``a`` is lower by is so many times what its weights are smaller by.
    """

    kind: ClassVar[str] = "memory_ratio"
    of: Literal["peak", "saved"] = "peak"
    at_least: Positive | None = None
    at_most: Positive | None = None

    def __post_init__(self) -> None:
        check_bounds(self.at_least, self.at_most)

    def statement(self, cells: NamedCells) -> str:
        return text(
            "the memory that {one} saves compared with {other} is {bounds} of what its weights are smaller by"
            if self.of == "saved"
            else "{one} needs {bounds} of {other}'s memory",
            one=self.a,
            other=self.b,
            bounds=bounds_text(self.at_least, self.at_most, units.percent),
        )

    def judge(self, cells: NamedCells) -> Judgement:
        if cells.obstacle is not None:
            return not_judged(cells.obstacle)
        measured = (saved_share if self.of == "saved" else memory_share)(*cells.rows)
        if isinstance(measured, str):
            return not_judged(measured)
        low, high = measured.interval
        assert low is not None
        assert high is not None
        least, most = self.at_least or 0.0, self.at_most if self.at_most is not None else float("inf")
        return Judgement(
            (measured,),
            0.0 if low >= least and high <= most else 1.0,
            0.0 if high < least or low > most else 1.0,
            further=lambda _: text(
                "peaks that are further from the bounds: measured ones repeat within {share}",
                share=units.percent(EQUAL_PEAKS),
            ),
            tested=False,
        )
