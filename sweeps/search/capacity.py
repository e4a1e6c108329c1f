"""What a sweep does while trials have no room: says so, has the cluster grow if it can, and does not wait for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sweeps.cluster.packing import Size

if TYPE_CHECKING:
    from sweeps.search.searcher import CellSearch

SAY_SECONDS = 15.0  # that nothing has room before people hear of it
ASK_SECONDS = 5.0  # between looks at whether the cluster should grow
REST_SECONDS = 30.0  # before it is asked again, once there is more of it
MOST_ASKED = 16


class Patience:
    """Called at every turn. Ends the search when nothing has run for ``wait_seconds`` for want of room."""

    def __init__(
        self,
        search: CellSearch,
        say: Callable[[str], None],
        wait_seconds: float | None,
        demand: Demand | None,
    ) -> None:
        self.search, self.say, self.wait_seconds, self.demand = search, say, wait_seconds, demand
        self._since: float | None = None  # nothing has run since then
        self._said: set[Size] = set()

    def __call__(self) -> None:
        admission = self.search.line.admission
        now = time.monotonic()
        if admission is None or self.search.leaving:
            return
        lacking = self.search.line.lacking()
        if self.demand is not None:
            self.demand.want([size for _, size in lacking][: admission.most - len(admission.running)])
        if admission.running or not lacking:
            self._since = None
            return
        self._since = self._since or now
        self._complain(*lacking[0], now - self._since)

    def _complain(self, name: str, size: Size, waited: float) -> None:
        assert self.search.line.admission is not None
        if waited > SAY_SECONDS and size not in self._said:
            self._said.add(size)
            until = f"for {self.wait_seconds:.0f} s at most" if self.wait_seconds is not None else "for it"
            have = ", ".join(map(str, self.search.line.admission.machines)) or "none"
            self.say(
                f"{name} takes {size}, which no machine has that is up now ({have}); the sweep waits {until}"
            )
        if self.wait_seconds is not None and waited > self.wait_seconds:
            self.say(f"no machine came that has {size} for {name}: the sweep ends here, and can be resumed")
            self.search.leaving = True


class Demand:
    """Tells a cluster that can grow what trials wait for: placement groups that are given back once they are there.

    They go with the driver, whatever becomes of it, so nothing keeps machines up that nobody needs.
    """

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self._groups: list[Any] = []
        self._asked = self._rested = 0.0

    def want(self, sizes: Sequence[Size]) -> None:
        """What there should be more room for, trial by trial."""
        now = time.monotonic()
        if now - self._asked < ASK_SECONDS or now < self._rested:
            return
        self._asked = now
        if self._came():
            self.close()
            self._rested = now + REST_SECONDS
            return
        wanted = min(len(sizes), MOST_ASKED)
        for group in self._groups[wanted:]:
            self._give_back(group)
        del self._groups[wanted:]
        for size in sizes[len(self._groups) : wanted]:
            self._groups.append(self.ray.util.placement_group([size.bundle()] * size.workers))

    def _came(self) -> bool:
        table = self.ray.util.placement_group_table
        return any(table(group)["state"] == "CREATED" for group in self._groups)

    def close(self) -> None:
        """Asks for nothing any more."""
        for group in self._groups:
            self._give_back(group)
        self._groups = []

    def _give_back(self, group: Any) -> None:
        with suppress(self.ray.exceptions.RayError):
            self.ray.util.remove_placement_group(group)
