"""Whether one cell's best learning rate is at least, or at most, so many times another's.

The best rates are the optima of parabolas through the cells' finished trials against the logarithm of the rate, with
Fieller's intervals (``reports.statistics.response_curve``); the logarithm of their ratio is a difference of two
estimates with intervals of their own, whose interval is that of Zou and Donner (2008, "MOVER"). A bootstrap of so few
trials holds the truth less often. Unlike the interval of one optimum, it doesn't allow for curves that fall more
quickly on one side: two cells whose curves do so alike are moved nearly alike. Where an interval
reaches the end of the range that was searched, the best rate may lie beyond, and the ratio has no bound on that side.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, inf, isfinite, log, sqrt
from typing import ClassVar

from reports import units
from reports.analysis.row import Row
from reports.analysis.search.rate_search import RateSearch, rate_search
from reports.analysis.settling import trial_seconds
from reports.claims.cells import NamedCells
from reports.claims.claim import PairClaim
from reports.claims.judgement import Figure, Judgement, not_judged
from reports.statistics.intervals import LEVEL, Interval
from reports.statistics.one_sided import all_of, any_of, interval_ps
from reports.statistics.response_curve import precision_of

MOST_TRIALS = 1_000  # that are considered
ENOUGH = 2  # of ``precision_of``: an optimum with an interval


@dataclass(frozen=True)
class RateRatio:
    """The best rate of one search over that of another, of which both name an optimum."""

    one: RateSearch
    other: RateSearch

    @property
    def value(self) -> float:
        return _optimum(self.one) / _optimum(self.other)

    def interval(self, level: float) -> Interval:
        """Of the logarithm of the ratio."""
        first, second = (log(_optimum(each)) for each in (self.one, self.other))
        low, high = _bounds(self.one, level)
        other_low, other_high = _bounds(self.other, level)
        difference = first - second
        return (
            difference - sqrt((first - low) ** 2 + (other_high - second) ** 2),
            difference + sqrt((high - first) ** 2 + (second - other_low) ** 2),
        )


@dataclass(frozen=True)
class BestSetting(PairClaim):
    """The best learning rate of ``a`` is ``at_least`` or ``at_most`` so many times that of ``b``, or between both."""

    kind: ClassVar[str] = "best_setting"
    at_least: float | None = None
    at_most: float | None = None

    def statement(self, cells: NamedCells) -> str:
        bounds = {"at least": self.at_least, "at most": self.at_most}
        words = " and ".join(f"{name} {value:g}" for name, value in bounds.items() if value is not None)
        return f"{self.a}'s best learning rate is {words} times {self.b}'s"

    def judge(self, cells: NamedCells) -> Judgement:
        if cells.obstacle is not None:
            return not_judged(cells.obstacle)
        searches = [rate_search(row.cell) for row in cells.rows]
        for row, search in zip(cells.rows, searches, strict=True):
            if (obstacle := without_optimum(row.name, search)) is not None:
                return not_judged(obstacle)
        one, other = searches
        assert one is not None
        assert other is not None
        ratio = RateRatio(one, other)
        supported, contradicted = self.test(ratio)
        return Judgement(
            (ratio_figure(ratio, f"best rate of {cells.rows[0].name} over {cells.rows[1].name}'s"),),
            supported,
            contradicted,
            further=self._more_trials(ratio, cells.rows),
            look=cells.group.look if cells.group is not None else 1,
        )

    def test(self, ratio: RateRatio) -> tuple[float, float]:
        """The p-values for and against the claim."""
        supports, refutes = [], []
        if self.at_least is not None:
            above, below = interval_ps(ratio.interval, log(self.at_least))
            supports, refutes = [above], [below]
        if self.at_most is not None:
            above, below = interval_ps(ratio.interval, log(self.at_most))
            supports, refutes = [*supports, below], [*refutes, above]
        return all_of(*supports), any_of(refutes)

    def _more_trials(self, ratio: RateRatio, rows: tuple[Row, ...]) -> str:
        """About how many trials would have an interval that leaves the nearest bound out: its width falls with the root
        of their number.
        """
        bounds = [log(bound) for bound in (self.at_least, self.at_most) if bound is not None]
        value, (low, high) = log(ratio.value), ratio.interval(LEVEL)
        nearest = min(bounds, key=lambda bound: abs(bound - value))
        width, distance = (value - low if nearest < value else high - value), abs(value - nearest)
        now = min(len(each.fitted) for each in (ratio.one, ratio.other))
        if not isfinite(width):
            return "a wider range of learning rates, with more trials (search.trials)"
        if distance == 0 or (trials := ceil(now * (width / distance) ** 2)) > MOST_TRIALS:
            return "more trials than are considered"
        trials = max(trials, now + 1)
        seconds = [trial_seconds(row) for row in rows]
        known = [each for each in seconds if each is not None]
        time = f", about {units.duration((trials - now) * sum(known))}" if len(known) == len(rows) else ""
        return f"about {trials} trials of each (now {now}{time}; search.trials)"


def without_optimum(name: str, search: RateSearch | None) -> str | None:
    """Why a search names no best rate."""
    if search is None or precision_of(len(search.fitted)) < ENOUGH:
        return f"{name} has too few trials with different learning rates for an interval (search.trials: 5 or more)"
    if search.rung is not None:
        step = search.rung.step
        return (
            f"too few trials of {name} ran to the end, and the best rate at step {step} may move until then"
        )
    if search.interval is None:
        return f"the best learning rate of {name} lies at the edge of those that were tried: search a wider range"
    return None


def ratio_figure(ratio: RateRatio, name: str) -> Figure:
    """The ratio with its 95 % interval."""
    low, high = (exp(end) if isfinite(end) else None for end in ratio.interval(LEVEL))
    return Figure(name, "ratio", ratio.value, (low, high))


def _optimum(search: RateSearch) -> float:
    assert search.curve is not None
    return search.curve.optimum


def _bounds(search: RateSearch, level: float) -> Interval:
    """The logarithms of the least and the largest rate that may be the best, infinite where these are the searched
    ones.
    """
    curve = search.parabola(1 - level)
    assert curve is not None
    assert curve.interval is not None
    low, high = curve.interval
    return (-inf if low <= curve.low else log(low)), (inf if high >= curve.high else log(high))
