"""Whether a trial's own curve says that going on is in vain: its training diverged, or it overfits.

The training loss is averaged over reports, each of a twentieth of the trial's logged steps and of two at least. The
training has *diverged* where, after the warm-up, the loss of several reports in a row is above that of the first report
by more than three standard errors. The spread of the steps' losses is that of the differences between neighbours, which
a trend hardly changes; by their median, so that a jump doesn't either (J. von Neumann, Annals of Mathematical
Statistics 12, 1941, with the median in place of the mean).

The trial has *overfitted* where its objective on the validation rows has fallen for several validations in a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import sqrt
from statistics import fmean, median
from typing import Any

from trainables.config.ending import EndingRules

REPORTS = 20  # of the training loss in a trial
SHORTEST_REPORT = 2  # logged steps
STANDARD_ERRORS = 3.0
# The median distance of two draws of a normal distribution, in its standard deviations.
MEDIAN_DISTANCE = 0.9539


class EarlyExit:
    """Collects a trial's curve and says when to leave.

    >>> curve = EarlyExit(EndingRules(early_exit=("diverged",)), steps=40, warmup_steps=0)
    >>> for step, loss in enumerate([4.0, 4.1, 7.9, 8.0, 8.1, 8.2, 7.9, 8.0], start=1):
    ...     curve.add_loss(step, loss)
    >>> curve.reason
    'its training loss was above that of its start for 3 reports in a row: 7.95 at step 8, 4.05 at the start'
    """

    def __init__(self, rules: EndingRules, steps: int, warmup_steps: int, logging_steps: int = 1) -> None:
        """``steps``, ``warmup_steps``: of the trial; its loss is logged every ``logging_steps``."""
        self.rules, self.warmup_steps = rules, warmup_steps
        self.points_per_report = max(SHORTEST_REPORT, steps // logging_steps // REPORTS)
        self._losses: list[tuple[int, float]] = []
        self._objectives: list[tuple[int, float]] = []

    def replay(self, curve: Iterable[dict[str, Any]], until: int) -> None:
        """Takes the points of an earlier attempt's curve up to the step from which the trial goes on."""
        for point in curve:
            add = {"train_loss": self.add_loss, "objective": self.add_objective}.get(point["name"])
            if add is not None and point["step"] <= until:
                add(point["step"], point["value"])

    def add_loss(self, step: int, loss: float) -> None:
        self._losses.append((step, loss))

    def add_objective(self, step: int, objective: float) -> None:
        self._objectives.append((step, objective))

    @property
    def reason(self) -> str | None:
        """Why the trial should end now, in words; ``None`` while it should go on."""
        found = {"diverged": self._divergence, "overfitted": self._overfitting}
        return next((words for name in self.rules.early_exit if (words := found[name]())), None)

    def _divergence(self) -> str | None:
        size, wanted = self.points_per_report, self.rules.exit_reports
        complete, rest = divmod(len(self._losses), size)
        if rest:  # the last report is that of the step before
            return None
        first = self._losses[:size]
        last = self._losses[(complete - wanted) * size : complete * size]
        # The report of the start is none of those that are compared with it.
        if complete <= wanted or last[0][0] <= self.warmup_steps:
            return None
        start = fmean(loss for _, loss in first)
        means = [fmean(loss for _, loss in last[at : at + size]) for at in range(0, len(last), size)]
        # Most trials are below: the spread sorts all losses.
        if min(means) <= start or min(means) <= start + STANDARD_ERRORS * self._spread() * sqrt(2 / size):
            return None
        return (
            f"its training loss was above that of its start for {wanted} reports in a row: {means[-1]:.3g} at step "
            f"{last[-1][0]}, {start:.3g} at the start"
        )

    def _spread(self) -> float:
        """The standard deviation of a step's loss around its trend."""
        losses = [loss for _, loss in self._losses]
        distances = [abs(after - before) for before, after in pairwise(losses)]
        return median(distances) / MEDIAN_DISTANCE

    def _overfitting(self) -> str | None:
        wanted = self.rules.exit_reports
        last = self._objectives[-wanted - 1 :]
        fell = all(after < before for (_, before), (_, after) in pairwise(last))
        if len(last) <= wanted or not fell:
            return None
        (first_step, highest), (last_step, lowest) = last[0], last[-1]
        return (
            f"it overfits: its validation objective fell {wanted} times in a row, from {highest:.4g} at step "
            f"{first_step} to {lowest:.4g} at step {last_step}"
        )
