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
from reports.analysis.row import Row
from reports.claims.cells import NamedCells
from reports.claims.claim import PairClaim, Positive
from reports.claims.differences import cells_difference
from reports.claims.judgement import Figure, Judgement, OpenDifference, not_judged
from reports.claims.within import non_inferiority
from reports.statistics.one_sided import all_of
from reports.statistics.pareto import EQUAL_PEAKS


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
        return f"{self.a} needs at most {share} of {self.b}'s memory and is at most {margin} worse"

    def judge(self, cells: NamedCells) -> Judgement:
        if cells.obstacle is not None:
            return not_judged(cells.obstacle)
        row, against = cells.rows
        memory = _memory_share(row, against)
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
            further=lambda _: (
                f"peaks that are further from the share: measured ones repeat within {units.percent(EQUAL_PEAKS)}"
            ),
            tested=fits,
        )


def _memory_share(row: Row, against: Row) -> Figure | str:
    """The first cell's peak as a share of the second's, from the least to the largest that the measured peaks allow; or
    why it is not known.
    """
    peaks = [_measured_peaks(each) for each in (row, against)]
    for each, found in zip((row, against), peaks, strict=True):
        if not found:
            return f"the memory of {each.name} was not measured{', only predicted' if each.peak else ''}"
    own, others = peaks
    ends = min(own) / max(others) * (1 - EQUAL_PEAKS), max(own) / min(others) * (1 + EQUAL_PEAKS)
    value = (sum(own) / len(own)) / (sum(others) / len(others))
    return Figure(f"memory of {row.name}, of {against.name}'s", "share", value, ends)


def _measured_peaks(row: Row) -> list[int]:
    trials = row.cell.judged_trials or ([row.best] if row.best is not None else [])
    return [
        record.peak_bytes
        for record in trials
        if record.peak_bytes is not None and record.memory_source != "predicted"
    ]
