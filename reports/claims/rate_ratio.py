"""The ratio of two cells' best learning rates, and an interval of it that allows for skewed curves.

The estimate is of the optima of parabolas through the cells' finished trials against the logarithm of the rate. The
interval is made of the optima's own intervals (``reports.statistics.response_curve``), which hold for curves that fall
up to four times as quickly on one side, of each cell another one: its ends are the least rate of the one over the
largest of the other, and the reverse, each at half the error (Bonferroni). Where an interval reaches the end of the
range that was searched, the best rate may lie beyond, and the ratio has no bound on that side.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, inf, isfinite, log

from reports.analysis.search.rate_search import RateSearch
from reports.claims.judgement import Figure
from reports.statistics.intervals import LEVEL, Interval
from reports.statistics.response_curve import LEAST_TRIALS, WITH_INTERVAL, precision_of
from reports.text import text

MOST_TRIALS = 1_000  # that are considered


@dataclass(frozen=True)
class RateRatio:
    """The best rate of one search over that of another, of which both name an optimum."""

    one: RateSearch
    other: RateSearch

    @property
    def value(self) -> float:
        """If both curves are parabolas."""
        return _optimum(self.one) / _optimum(self.other)

    @property
    def trials(self) -> int:
        """Of the search with fewer."""
        return min(len(each.fitted) for each in (self.one, self.other))

    def interval(self, level: float) -> Interval:
        """Of the logarithm of the ratio."""
        # Each of its ends misses where either search's does: a two-sided share of half the error has a quarter of it
        # on each side.
        return self._ends((1 - level) / 2)

    def _ends(self, error: float) -> Interval:
        low, high = _bounds(self.one, error)
        other_low, other_high = _bounds(self.other, error)
        return low - other_high, high - other_low

    def trials_to_tell(self, bound: float, error: float) -> int | None:
        """About how many trials of each tell the measured ratio from ``bound`` at a one-sided ``error``: what trials
        leave open falls with the root of their number, what skewed curves leave open doesn't fall. ``None`` where no
        number that is considered does; raises ``ValueError`` where the interval has no end on that side.
        """
        value = log(self.value)
        distance = abs(value - log(bound))
        place = 0 if log(bound) < value else 1
        width, of_curves = (
            abs(ends[place] - value) for ends in (self.interval(1 - 2 * error), self._ends(1.0))
        )
        if not isfinite(width):
            raise ValueError("the interval reaches the end of the range")
        if width < distance:
            return self.trials
        if distance <= of_curves:
            return None
        needed = ceil(self.trials * ((width - of_curves) / (distance - of_curves)) ** 2)
        return max(needed, self.trials + 1) if needed <= MOST_TRIALS else None


def without_optimum(name: str, search: RateSearch | None) -> str | None:
    """Why a search names no best rate."""
    if search is None or precision_of(len(search.fitted)) < WITH_INTERVAL:
        return text(
            "{cell} has too few trials with different learning rates for an interval (search.trials: {count} or more)",
            cell=name,
            count=LEAST_TRIALS,
        )
    if search.rung is not None:
        return text(
            "too few trials of {cell} ran to the end, and the best rate at step {step} may move until then",
            cell=name,
            step=search.rung.step,
        )
    if search.interval is None or search.intervals is None:
        return text(
            "the best learning rate of {cell} lies at the edge of those that were tried: search a wider range",
            cell=name,
        )
    return None


def ratio_figure(ratio: RateRatio, one: str, other: str) -> Figure:
    """The ratio with its 95 % interval."""
    low, high = (exp(end) if isfinite(end) else None for end in ratio.interval(LEVEL))
    name = text("best rate of {one} over {other}'s, if both curves are parabolas", one=one, other=other)
    return Figure(name, "ratio", ratio.value, (low, high))


def _optimum(search: RateSearch) -> float:
    assert search.curve is not None
    return search.curve.optimum


def _bounds(search: RateSearch, error: float) -> Interval:
    """The logarithms of the least and the largest rate that may be the best, infinite where these are the searched
    ones.
    """
    assert search.intervals is not None
    low, high = search.intervals(error)
    return (-inf if low <= search.low else log(low)), (inf if high >= search.high else log(high))
