"""Whether one cell's best learning rate is at least, or at most, so many times another's (``rate_ratio``)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar, Literal

from reports import units
from reports.analysis.row import Row
from reports.analysis.search.rate_search import rate_search
from reports.analysis.settling import trial_seconds
from reports.claims.bounds import bounds_text, check_bounds
from reports.claims.cells import NamedCells
from reports.claims.claim import PairClaim, Positive
from reports.claims.judgement import Judgement, not_judged
from reports.claims.rate_ratio import RateRatio, ratio_figure, without_optimum
from reports.statistics.one_sided import all_of, any_of, interval_ps
from reports.text import joined, text


@dataclass(frozen=True)
class BestSetting(PairClaim):
    """The best learning rate of ``a`` is ``at_least`` or ``at_most`` so many times that of ``b``, or between both."""

    kind: ClassVar[str] = "best_setting"
    at_least: Positive | None = None
    at_most: Positive | None = None
    setting: Literal["train.learning_rate"] = "train.learning_rate"

    def __post_init__(self) -> None:
        check_bounds(self.at_least, self.at_most)

    def statement(self, cells: NamedCells) -> str:
        return text(
            "{one}'s best learning rate is {bounds} times {other}'s",
            one=self.a,
            other=self.b,
            bounds=bounds_text(self.at_least, self.at_most, "{:g}".format),
        )

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
            (ratio_figure(ratio, *(row.name for row in cells.rows)),),
            supported,
            contradicted,
            further=lambda error: self._further(ratio, cells.rows, error),
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

    def _further(self, ratio: RateRatio, rows: tuple[Row, ...], error: float) -> str:
        """What would settle it at a one-sided error, if the true ratio is the measured one."""
        try:
            trials = self.trials_needed(ratio, error)
        except ValueError:
            return text("a wider range of learning rates, with more trials (search.trials)")
        if trials is None:
            return text(
                "more trials over this range don't settle it, as a curve may fall more quickly on one side of its best "
                "rate; trials in a narrower range about both best rates, with the other settings fixed, may"
            )
        seconds = [trial_seconds(row) for row in rows]
        known = [each for each in seconds if each is not None]
        now = [text("now {count}", count=ratio.trials)]
        if len(known) == len(rows):
            now.append(text("about {time}", time=units.duration((trials - ratio.trials) * sum(known))))
        return text(
            "about {trials} trials of each ({details}; search.trials)",
            trials=trials,
            details=joined(", ", now),
        )

    def trials_needed(self, ratio: RateRatio, error: float) -> int | None:
        """By :meth:`RateRatio.trials_to_tell`: to contradict it by either bound that the measured ratio violates, or
        to support it, which takes all bounds.
        """
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        violated = [
            *([self.at_least] if self.at_least is not None and ratio.value < self.at_least else []),
            *([self.at_most] if self.at_most is not None and ratio.value > self.at_most else []),
        ]
        if violated:
            # Of two bounds one is violated at most; either refutes, at the error over their number.
            return ratio.trials_to_tell(violated[0], error / len(bounds))
        needs = [ratio.trials_to_tell(bound, error) for bound in bounds]
        known = [need for need in needs if need is not None]
        return max(known) if len(known) == len(needs) else None
