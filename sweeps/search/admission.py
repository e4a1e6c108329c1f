"""Which trials may start now: those that fit on the cluster's machines beside the ones that run.

Only what has room is started, so nothing holds one thing while it waits for another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sweeps.cluster.packing import Machine, Size, fits

LOOK_SECONDS = 2.0  # between looks at the cluster


class Admission:
    """``look`` gives the machines that are up; ``most`` trials run at a time."""

    def __init__(self, look: Callable[[], Sequence[Machine]], most: int) -> None:
        self.most = most
        self.running: dict[str, Size] = {}  # by trial
        self.last: Size | None = None  # of the trial that ended last: a slot of that size is free
        self._look = look
        self._machines: Sequence[Machine] = ()
        self._looked: float | None = None

    @property
    def machines(self) -> Sequence[Machine]:
        """The machines, as they were a moment ago."""
        if self._looked is None or time.monotonic() - self._looked > LOOK_SECONDS:
            self._machines, self._looked = self._look(), time.monotonic()
        return self._machines

    @property
    def full(self) -> bool:
        """Whether as many run as are allowed to."""
        return len(self.running) >= self.most

    def fits(self, size: Size) -> bool:
        """Whether there is room for another trial of that size now."""
        return not self.full and fits(self.machines, [*self.running.values(), size])

    def begin(self, trial_id: str, size: Size) -> None:
        self.running[trial_id] = size

    def end(self, trial_id: str) -> None:
        self.last = self.running.pop(trial_id, self.last)
