"""What a sweep does while there is no capacity for its trials: it says so, asks the cluster to grow, and gives up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sweeps.cluster.packing import Size

if TYPE_CHECKING:
    from sweeps.search.shutdown import Shutdown
    from sweeps.search.trial_queue import TrialQueue

SAY_SECONDS = 15.0  # without capacity for anything before users are told
ASK_SECONDS = 5.0  # between checks of whether the cluster should grow
REST_SECONDS = 30.0  # before more is requested, once the cluster has grown
MAX_REQUESTS = 16


class Patience:
    """Called at every turn of the sweep's loop. Says what there is no capacity for while nothing runs, and ends the
    sweep once that has lasted ``wait_seconds``; ``None`` waits forever. ``demand`` has the cluster grow meanwhile.
    """

    def __init__(
        self,
        queue: TrialQueue,
        shutdown: Shutdown,
        say: Callable[[str], None],
        wait_seconds: float | None,
        demand: Demand | None,
    ) -> None:
        self.queue, self.shutdown, self.say = queue, shutdown, say
        self.wait_seconds, self.demand = wait_seconds, demand
        self._since: float | None = None  # nothing has run since then
        self._said: set[Size] = set()

    def __call__(self) -> None:
        admission = self.queue.admission
        now = time.monotonic()
        if self.shutdown.requested:
            return
        waiting = self.queue.without_capacity()
        if self.demand is not None:
            self.demand.want([size for _, size in waiting][: admission.most - len(admission.running)])
        if admission.running or not waiting:
            self._since = None
            return
        self._since = self._since or now
        self._complain(*waiting[0], now - self._since)

    def _complain(self, name: str, size: Size, waited: float) -> None:
        if waited > SAY_SECONDS and size not in self._said:
            self._said.add(size)
            limit = f"at most {self.wait_seconds:.0f} s" if self.wait_seconds is not None else "until one has"
            machines = ", ".join(map(str, self.queue.admission.machines)) or "none"
            self.say(
                f"{name} needs {size}, and no machine that is up has that much ({machines}); the sweep waits {limit}"
            )
        if self.wait_seconds is not None and waited > self.wait_seconds:
            self.say(
                f"no machine with {size} for {name} came up: the sweep ends here; --resume continues it later"
            )
            self.shutdown.request()


class Demand:
    """Tells a cluster that can grow what trials wait for: by placement groups that are removed once they are placed.

    They end with the driver, whatever becomes of it, so they keep no machine up that isn't needed.
    """

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self._groups: list[Any] = []
        self._asked = self._rest_until = 0.0

    def want(self, sizes: Sequence[Size]) -> None:
        """Requests capacity for trials of these sizes, one placement group each, the first ones first."""
        now = time.monotonic()
        if now - self._asked < ASK_SECONDS or now < self._rest_until:
            return
        self._asked = now
        if self._any_placed():
            self.close()
            self._rest_until = now + REST_SECONDS
            return
        wanted = min(len(sizes), MAX_REQUESTS)
        for group in self._groups[wanted:]:
            self._remove(group)
        del self._groups[wanted:]
        for size in sizes[len(self._groups) : wanted]:
            self._groups.append(self.ray.util.placement_group([size.bundle()] * size.workers))

    def _any_placed(self) -> bool:
        table = self.ray.util.placement_group_table
        return any(table(group)["state"] == "CREATED" for group in self._groups)

    def close(self) -> None:
        """Withdraws all requests."""
        for group in self._groups:
            self._remove(group)
        self._groups = []

    def _remove(self, group: Any) -> None:
        with suppress(self.ray.exceptions.RayError):
            self.ray.util.remove_placement_group(group)
