"""The time that a sweep has left: by what its trials have taken so far, and by what its plan predicts they take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean

from sweeps.console.signs_of_life import Sign
from trainables.results import Record

WITH_LENGTH = ("done", "stopped")  # a trial that failed says nothing of how long others take


@dataclass
class TimeLeft:
    """``budgets``: a cell's trials, finalists included. ``predicted``: the seconds of one of them, where the plan knows
    it; it counts as one trial beside those that have ended. ``slots``: trials at a time.
    """

    budgets: Mapping[str, int]
    predicted: Mapping[str, float]
    slots: int
    _running_since: dict[str, float] = field(default_factory=dict)  # by trial, of the monotonic clock

    def follow(self, signs: Iterable[Sign]) -> None:
        """Takes which trials run; those whose workers start have not begun."""
        for sign in signs:
            if sign.doing != "starting":
                self._running_since.setdefault(sign.trial_id, time.monotonic())

    def seconds(self, records: Iterable[Record], running: Iterable[Sign] = ()) -> float | None:
        """Until the last trial ends; ``None`` where nothing is known of any trial.

        ``records``: of the trials that have ended.
        """
        ended = [record for record in records if record.cell in self.budgets]
        taken = self._taken(ended)
        if not taken:
            return None
        # Of a cell that nothing is known of, a trial takes what those of the others do.
        usual = fmean(taken.values())
        left = {
            cell: budget - sum(each.cell == cell for each in ended) for cell, budget in self.budgets.items()
        }
        work = sum(max(0, count) * taken.get(cell, usual) for cell, count in left.items())
        finished = {record.trial_id for record in ended}
        for sign in running:
            if sign.cell in self.budgets and sign.trial_id not in finished:
                age = time.monotonic() - self._running_since.get(sign.trial_id, time.monotonic())
                work -= min(age, taken.get(sign.cell, usual))
        return max(0.0, work) / max(1, min(self.slots, sum(left.values())))

    def _taken(self, ended: Iterable[Record]) -> dict[str, float]:
        """The mean seconds of a trial by cell."""
        known = {cell: [seconds] for cell, seconds in self.predicted.items() if cell in self.budgets}
        for record in ended:
            if record.status in WITH_LENGTH and (seconds := _seconds(record)) is not None:
                known.setdefault(record.cell, []).append(seconds)
        return {cell: fmean(values) for cell, values in known.items()}


def _seconds(record: Record) -> float | None:
    if record.started_at is None or record.ended_at is None:
        return None
    begin, end = (datetime.fromisoformat(moment) for moment in (record.started_at, record.ended_at))
    return max(0.0, (end - begin).total_seconds())
