"""The difference in quality of two cells, as claims test it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from reports.analysis.evaluation_sets import SetResults
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.claims.judgement import Figure
from reports.statistics.comparisons import Comparison, compare_estimates, difference_interval
from reports.statistics.estimates import Estimate
from reports.statistics.one_sided import all_of, difference_ps
from reports.text import text


@dataclass(frozen=True)
class Difference:
    """The quality of one trained configuration against that of another, over rows and seeds. ``gain``: in the
    direction that is better.

    ``scale``: the group whose quality it is, or the further evaluation set.
    """

    scale: Group | SetResults
    one: Estimate
    other: Estimate
    name: str

    @property
    def _sign(self) -> int:
        return 1 if self.scale.higher_is_better else -1

    @property
    def gain(self) -> float:
        return self._sign * (self.one.quality - self.other.quality)

    def comparison(self) -> Comparison:
        """The comparison that a report's verdicts are of."""
        return compare_estimates(self.one, self.other, self.scale.seed_variance)

    def gain_ps(self, value: float) -> tuple[float, float]:
        """The one-sided p-values that the gain is not above ``value``, and that it is not below."""
        above, below = difference_ps(self.one, self.other, self.scale.seed_variance, self._sign * value)
        return (above, below) if self._sign > 0 else (below, above)

    def direction_ps(self) -> tuple[float, float]:
        """The one-sided p-values that the first is not better, and that it is not worse.

        As in a verdict the test and the interval have to agree. Of several seeds the tests are sign flips and t-tests,
        which are symmetric: half of the two-sided p-value is the one-sided one.
        """
        by_test = self.comparison().p / 2
        above, below = self.gain_ps(0.0)
        return (
            all_of(above, by_test if self.gain > 0 else 1.0),
            all_of(below, by_test if self.gain < 0 else 1.0),
        )

    def figure(self, level: float = 0.95) -> Figure:
        """The first quality minus the second, in the quality's own sign, with its interval."""
        ends = difference_interval(self.one, self.other, self.scale.seed_variance, level)
        low, high = (end if isfinite(end) else None for end in ends)
        value = self.one.quality - self.other.quality
        return Figure(self.name, "difference", value, (low, high), self.scale.unit)


def cells_difference(group: Group, row: Row, against: Row) -> Difference:
    """That of two cells with estimates."""
    assert row.cell.estimate is not None
    assert against.cell.estimate is not None
    return Difference(
        group,
        row.cell.estimate,
        against.cell.estimate,
        text("{one} minus {other}", one=row.name, other=against.name),
    )
