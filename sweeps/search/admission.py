"""Which trials may start now: those that fit on the cluster's machines beside the ones that are running.

Only a trial for which there is capacity starts, so none holds one resource while it waits for another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sweeps.cluster.packing import Machine, Size, fits

REFRESH_SECONDS = 2.0  # between queries of the cluster's machines


class Admission:
    """Keeps count of the resources that running trials hold.

    ``list_machines`` returns the machines that are up; at most ``limit`` trials run at a time.
    """

    def __init__(
        self,
        list_machines: Callable[[], Sequence[Machine]],
        limit: int,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        self.limit = limit
        self.running: dict[str, Size] = {}  # by trial
        self.last_size: Size | None = None  # of the trial that ended last: a slot of that size is idle
        self.last_trial: str | None = None  # that trial
        self._list_machines = list_machines
        self._machines: Sequence[Machine] = ()
        self._refresh_seconds = refresh_seconds
        self._refreshed: float | None = None

    @property
    def machines(self) -> Sequence[Machine]:
        """The machines that are up, as they were at most ``refresh_seconds`` ago."""
        if self._refreshed is None or time.monotonic() - self._refreshed >= self._refresh_seconds:
            # Counted from the query's end: the queue asks once a cell, and a query may take longer than the interval.
            self._machines, self._refreshed = self._list_machines(), time.monotonic()
        return self._machines

    @property
    def full(self) -> bool:
        """Whether as many trials run as may run at a time."""
        return len(self.running) >= self.limit

    def fits(self, size: Size) -> bool:
        """Whether there is capacity for another trial of that size now."""
        return not self.full and fits(self.machines, [*self.running.values(), size])

    def begin(self, trial_id: str, size: Size) -> None:
        self.running[trial_id] = size

    def end(self, trial_id: str) -> None:
        # A trial that was never counted as running leaves no idle slot behind.
        if trial_id in self.running:
            self.last_trial, self.last_size = trial_id, self.running.pop(trial_id)
