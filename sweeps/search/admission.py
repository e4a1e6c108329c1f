"""Which trials may start now: those that fit on the cluster's machines beside the ones that are running.

Only a trial for which there is capacity starts, so none holds one resource while it waits for another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sweeps.cluster.packing import Machine, Size, fits
from trainables.system.background import Throttle

LOOK_SECONDS = 2.0  # between looks at the cluster


class Admission:
    """Counts what running trials hold. ``look`` gives the machines that are up; ``most`` trials may run at a time."""

    def __init__(
        self, look: Callable[[], Sequence[Machine]], most: int, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self.most = most
        self.running: dict[str, Size] = {}  # by trial
        self.last: Size | None = None  # of the trial that ended last: a slot of that size is free
        self._look = look
        self._machines: Sequence[Machine] = ()
        self._throttle = Throttle(look_seconds)

    @property
    def machines(self) -> Sequence[Machine]:
        """The machines that are up, as seen at most ``look_seconds`` ago."""
        if self._throttle.due():
            self._machines = self._look()
        return self._machines

    @property
    def full(self) -> bool:
        """Whether as many trials run as are allowed to."""
        return len(self.running) >= self.most

    def fits(self, size: Size) -> bool:
        """Whether there is capacity for another trial of that size now."""
        return not self.full and fits(self.machines, [*self.running.values(), size])

    def begin(self, trial_id: str, size: Size) -> None:
        self.running[trial_id] = size

    def end(self, trial_id: str) -> None:
        self.last = self.running.pop(trial_id, self.last)
