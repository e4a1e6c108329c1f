"""Whether a quality hardly changes over the values of a setting, or over several cells.

Each two of them are tested for equivalence (``within``); all have to be shown equivalent, each at the whole error
(Berger, 1982), and any two that differ by more than the margin refute it, at that error over their number. The largest
difference of any two lies between the largest lower end and the largest upper end of their simultaneous intervals
(Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, ClassVar

from pydantic import Field

from reports import units
from reports.claims.cells import NamedCells
from reports.claims.claim import Claim, Name, Positive
from reports.claims.differences import Difference
from reports.claims.judgement import Figure, Judgement, OpenDifference, not_judged
from reports.claims.setting_values import domain_values, estimates_by_value
from reports.claims.within import equivalence
from reports.statistics.intervals import LEVEL
from reports.statistics.one_sided import all_of, any_of
from reports.text import text


@dataclass(frozen=True)
class Flat(Claim):
    """The qualities of all ``of`` differ by less than ``margin``: of several cells, or of one cell's best trials by the
    values of a ``setting``.
    """

    kind: ClassVar[str] = "flat"
    of: Annotated[tuple[Name, ...], Field(min_length=1)]
    margin: Positive
    setting: Name | None = None

    def __post_init__(self) -> None:
        if len(set(self.of)) < len(self.of) or (len(self.of) == 1) is not (self.setting is not None):
            raise ValueError("it names neither several cells nor one cell and a setting")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.of)

    def statement(self, cells: NamedCells) -> str:
        margin = units.difference(self.margin, cells.unit)
        if self.setting is not None:
            values = domain_values(cells.rows[0].cell, self.setting) if cells.rows else None
            name = units.setting_name(self.setting)
            return text(
                "{cell}'s quality differs by at most {margin} over {setting}",
                cell=self.of[0],
                margin=margin,
                setting=text("{setting} {values}", setting=name, values=units.join(list(values)))
                if values
                else name,
            )
        return text("{names} differ by at most {margin}", names=units.join(list(self.of)), margin=margin)

    def judge(self, cells: NamedCells) -> Judgement:
        if (obstacle := cells.without_quality(self.margin)) is not None:
            return not_judged(obstacle)
        assert cells.group is not None
        if self.setting is None:
            estimates = {row.name: row.cell.estimate for row in cells.rows if row.cell.estimate is not None}
        else:
            found = estimates_by_value(cells.rows[0].cell, self.setting)
            if isinstance(found, str):
                return not_judged(found)
            estimates = found
        differences = [
            Difference(
                cells.group,
                estimates[one],
                estimates[other],
                text("largest difference ({one} and {other})", one=one, other=other),
            )
            for one, other in combinations(estimates, 2)
        ]
        tests = [equivalence(each, self.margin) for each in differences]
        open_pair = None
        if self.setting is None:
            # What is hardest to tell decides how much more it takes.
            place = max(range(len(tests)), key=lambda position: abs(differences[position].gain))
            row, against = list(combinations(cells.rows, 2))[place]
            open_pair = OpenDifference(cells.group, row, against, lambda gain: self.margin - abs(gain))
        return Judgement(
            (largest_difference(differences),),
            all_of(*(supported for supported, _ in tests)),
            any_of([contradicted for _, contradicted in tests]),
            open=open_pair,
            further=lambda _: text(
                "more test rows, or a cell of each value ({{compare: [...]}}), which more seeds are trained of"
            ),
        )


def largest_difference(differences: Sequence[Difference]) -> Figure:
    """The largest difference of any two, in either direction."""
    level = 1 - (1 - LEVEL) / len(differences)
    largest = max(differences, key=lambda each: abs(each.gain))
    lows, highs = [0.0], []
    for each in differences:
        low, high = each.figure(level).interval
        lows.append(max(low if low is not None else 0.0, -high if high is not None else 0.0))
        highs.append(None if low is None or high is None else max(-low, high))
    known = [high for high in highs if high is not None]
    upper = max(known) if len(known) == len(highs) else None
    return Figure(largest.name, "difference", abs(largest.gain), (max(lows), upper), largest.scale.unit)
