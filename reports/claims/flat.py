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
from typing import ClassVar

from reports import units
from reports.analysis import row_scores
from reports.analysis.cells import Cell
from reports.analysis.configs import leaves
from reports.claims.cells import NamedCells
from reports.claims.claim import Claim
from reports.claims.differences import Difference
from reports.claims.judgement import Figure, Judgement, OpenDifference, not_judged
from reports.claims.within import equivalence
from reports.statistics.estimates import Estimate
from reports.statistics.intervals import LEVEL
from reports.statistics.one_sided import all_of, any_of
from trainables import results
from trainables.results import Record


@dataclass(frozen=True)
class Flat(Claim):
    """The qualities of all ``of`` differ by less than ``margin``: of several cells, or of one cell's best trials by the
    values of a ``setting``.
    """

    kind: ClassVar[str] = "flat"
    of: tuple[str, ...]
    margin: float
    setting: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.of)

    def statement(self, cells: NamedCells) -> str:
        margin = units.difference(self.margin, cells.unit)
        if self.setting is not None:
            return (
                f"{self.of[0]}'s quality differs by at most {margin} over {units.setting_name(self.setting)}"
            )
        return f"{units.join(list(self.of))} differ by at most {margin}"

    def judge(self, cells: NamedCells) -> Judgement:
        if (obstacle := cells.without_quality()) is not None:
            return not_judged(obstacle)
        assert cells.group is not None
        if self.setting is None:
            estimates = {row.name: row.cell.estimate for row in cells.rows if row.cell.estimate is not None}
        else:
            found = values_of_setting(cells.rows[0].cell, self.setting)
            if isinstance(found, str):
                return not_judged(found)
            estimates = found
        differences = [
            Difference(cells.group, estimates[one], estimates[other], f"{one} minus {other}")
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
            further=None
            if open_pair is not None
            else "more test rows, or a cell of each value ({compare: [...]}), which more seeds are trained of",
            look=cells.group.look,
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
    name = f"largest difference ({largest.name.replace(' minus ', ' and ')})"
    return Figure(name, "difference", abs(largest.gain), (max(lows), upper), largest.group.unit)


def values_of_setting(cell: Cell, setting: str) -> dict[str, Estimate] | str:
    """The estimate of a cell's best trial at each value of a setting; or why that is not known.

    By the objective on the validation rows, so that the figures on the test rows are not flattered.
    """
    by_value: dict[str, list[Record]] = {}
    for record in cell.search_trials:
        config = dict(leaves(record.config))
        if setting in config:
            by_value.setdefault(units.setting_value(config[setting]), []).append(record)
    if len(by_value) < 2:
        return f"{cell.label} has trials with fewer than two values of {setting}"
    estimates: dict[str, Estimate] = {}
    for value, records in by_value.items():
        best = results.best(records)
        estimate = row_scores.estimate(cell.run, [best]) if best is not None else None
        if estimate is None:
            return (
                f"{cell.label} has no scored trial with {units.setting_name(setting)} {value} (search: {{scheduler: "
                "none} trains all to the end)"
            )
        estimates[f"{units.setting_name(setting)} {value}"] = estimate
    return estimates
