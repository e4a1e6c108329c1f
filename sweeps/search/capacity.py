"""What a sweep does while no machine has capacity for a trial: it says so, asks the cluster to grow, and gives up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sweeps.cluster.packing import Size

if TYPE_CHECKING:
    from sweeps.search.shutdown import Shutdown
    from sweeps.search.trial_queue import TrialQueue

MESSAGE_SECONDS = 15.0  # without capacity for anything before users get a message
REQUEST_SECONDS = 5.0  # between changes of what is requested of the cluster
REST_SECONDS = 30.0  # before more is requested, once the cluster has grown
MAX_REQUESTS = 16


class CapacityWatch:
    """A task of the sweep's loop. While nothing runs, it reports which trials there is no capacity for.

    It ends the sweep once that has lasted ``wait_seconds``; ``None`` waits forever. ``requests`` asks a cluster that
    can grow for capacity meanwhile.
    """

    def __init__(
        self,
        queue: TrialQueue,
        shutdown: Shutdown,
        log: Callable[[str], None],
        wait_seconds: float | None,
        requests: CapacityRequests | None,
    ) -> None:
        self.queue, self.shutdown, self.log = queue, shutdown, log
        self.wait_seconds, self.requests = wait_seconds, requests
        self._idle_since: float | None = None  # monotonic; None while a trial runs or none waits
        self._reported: set[Size] = set()

    def __call__(self) -> None:
        admission = self.queue.admission
        now = time.monotonic()
        if self.shutdown.requested:
            return
        waiting = self.queue.without_capacity()
        if self.requests is not None:
            # No more than could start at once: `resources.concurrent` limits the trials, not the machines.
            self.requests.update([size for _, size in waiting][: admission.limit - len(admission.running)])
        if admission.running or not waiting:
            self._idle_since = None
            return
        self._idle_since = self._idle_since or now
        self._report(*waiting[0], now - self._idle_since)

    def _report(self, name: str, size: Size, waited: float) -> None:
        if waited > MESSAGE_SECONDS and size not in self._reported:
            self._reported.add(size)
            limit = f"at most {self.wait_seconds:.0f} s" if self.wait_seconds is not None else "until one has"
            machines = ", ".join(map(str, self.queue.admission.machines)) or "none"
            self.log(
                f"{name} needs {size}, and no machine that is up has that much ({machines}); the sweep waits {limit}"
            )
        if self.wait_seconds is not None and waited > self.wait_seconds:
            self.log(
                f"no machine with {size} for {name} came up: the sweep ends here; --resume continues it later"
            )
            self.shutdown.request()


class CapacityRequests:
    """Asks a cluster that can grow for the capacity that trials wait for, by placement groups.

    Once one of them is placed, all are removed, so that trials get the capacity. They end with the driver however it
    ends, so they keep no machine up that isn't needed.
    """

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self._groups: list[Any] = []
        self._updated_at = self._rest_until = 0.0

    def update(self, sizes: Sequence[Size]) -> None:
        """Requests capacity for trials of these sizes, one placement group each, the first ones first."""
        now = time.monotonic()
        if now - self._updated_at < REQUEST_SECONDS or now < self._rest_until:
            return
        self._updated_at = now
        # The groups hold what they were given: only once they are removed can trials use the new machine.
        if self._any_placed():
            self.close()
            self._rest_until = now + REST_SECONDS
            return
        wanted = min(len(sizes), MAX_REQUESTS)
        for group in self._groups[wanted:]:
            self._remove(group)
        del self._groups[wanted:]
        # Groups are counted, not matched by size: one may outlast the trial that it was made for.
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
