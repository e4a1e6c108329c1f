"""Tasks of a sweep's loop while its trials run. The loop iterates more often than a task has to run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.runs import lock
from trainables.system.background import Throttle

if TYPE_CHECKING:
    from sweeps.cluster.node_resources import Machines
    from sweeps.search.shutdown import Shutdown

SECONDS = 1.0  # between calls of a task


def once_a_second(task: Callable[[], object]) -> Callable[[], None]:
    """``task``, limited to one call every :data:`SECONDS`; calls in between do nothing."""
    return Throttle(SECONDS).limit(task)


class StopRequests:
    """Ends the sweep as Ctrl-C does when ``paretune stop`` requests it, from any machine."""

    def __init__(self, run_folder: Path) -> None:
        self.run_folder, self._passed_on = run_folder, False

    def __call__(self) -> None:
        if not self._passed_on and lock.stop_requested(self.run_folder):
            self._passed_on = True
            os.kill(os.getpid(), signal.SIGTERM)


class LeaveWhenSaved:
    """Calls ``leave`` once the sweep is ending and no trial has been running for two calls in a row.

    A slot that is only just starting has nothing to save, and is not waited for.
    """

    def __init__(self, shutdown: Shutdown, board: Any, leave: Callable[[], object]) -> None:
        self.shutdown, self.board, self.leave = shutdown, board, leave
        self._nothing_ran_before = False

    def __call__(self) -> None:
        import ray

        nothing_runs = self.shutdown.requested and ray.get(self.board.running_count.remote()) == 0
        if nothing_runs and self._nothing_ran_before:
            self.leave()
        self._nothing_ran_before = nothing_runs


class NodeDrains:
    """Tells the board which nodes will be taken down, so that trials there save themselves and move."""

    def __init__(self, machines: Machines, board: Any) -> None:
        self.machines, self.board = machines, board
        self._draining: set[str] = set()

    def __call__(self) -> None:
        draining = set(self.machines.draining())
        if draining != self._draining:
            self._draining = draining
            self.board.set_draining.remote(sorted(draining))


class SlotLogs:
    """Writes to the run's log the lines that slots without access to the run folder have put on the board."""

    def __init__(self, board: Any, run_folder: Path) -> None:
        self.board, self.log = board, run_folder / "sweep.log"

    def __call__(self) -> None:
        import ray

        with self.log.open("a", encoding="utf-8") as log:
            log.writelines(ray.get(self.board.take_log_lines.remote()))
