"""Tasks of a sweep's loop while its trials run. The loop iterates more often than a task has to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.console.saving import abandoned_text
from sweeps.runs import lock
from sweeps.runs.layout import STOP_LINE
from trainables.storage import files
from trainables.system.background import Throttle
from trainables.system.wording import counted

if TYPE_CHECKING:
    from sweeps.cluster.node_resources import Machines
    from sweeps.search.searcher import CellSearch

SECONDS = 1.0  # between calls of a task
DEAD_SLOT_SECONDS = 5.0  # between looks at the slots that have ended


def once_a_second(task: Callable[[], object]) -> Callable[[], None]:
    """``task``, limited to one call every :data:`SECONDS`; calls in between do nothing."""
    return Throttle(SECONDS).limit(task)


class StopRequests:
    """Ends the sweep by ``stop``, as Ctrl-C does, when ``paretune stop`` requests it, from any machine.

    The line that it logs tells a stopped run from one that a signal has ended.
    """

    def __init__(
        self, run_folder: Path, stop: Callable[[], object], log: Callable[[str], object] = lambda text: None
    ) -> None:
        self.run_folder, self.stop, self.log, self._passed_on = run_folder, stop, log, False

    def __call__(self) -> None:
        if not self._passed_on and lock.stop_requested(self.run_folder):
            self._passed_on = True
            self.log(STOP_LINE)
            self.stop()


class TrialRequests:
    """Has trials stopped that ``paretune stop RUN:TRIAL`` names, and adds those of ``paretune add``."""

    def __init__(self, search: CellSearch, board: Any, log: Callable[[str], None]) -> None:
        self.search, self.board, self.log = search, board, log
        self._stopping: frozenset[str] = frozenset()
        self._reported = 0  # of the requests that can't be read

    def __call__(self) -> None:
        work = self.search.work
        work.take_requests()
        for sentence in work.by_hand.damaged[self._reported :]:
            self.log(f"a request is left out: {sentence}")
        self._reported = len(work.by_hand.damaged)
        running = {config.trial_id() for config in self.search.running() if config.role != "base"}
        stopping = work.by_hand.stops & running
        if stopping != self._stopping:
            self._stopping = stopping
            self.board.stop_by_hand.remote(sorted(stopping))


class FolderWatch:
    """Says at once that the run folder is gone, and that it is back: nobody sees that while trials train."""

    def __init__(self, run_folder: Path, log: Callable[[str], None]) -> None:
        self.run_folder, self.log, self._gone = run_folder, log, False

    def __call__(self) -> None:
        # A trial that writes makes the folders anew, but not this file.
        gone = not (self.run_folder / "environment.json").exists()
        if gone and not self._gone:
            what = (
                "was it deleted, or its file system unmounted? The sweep waits for it; Ctrl-C ends the sweep"
            )
            self.log(f"the run folder {self.run_folder} is gone: {what}")
        if self._gone and not gone:
            self.log(f"the run folder {self.run_folder} is back")
        self._gone = gone


class NodeDrains:
    """Tells the board which nodes will be taken down, and when, so that trials there save themselves and move; logs
    which have no time to. ``bytes_per_second``: the speed of the run's disk, ``None`` where that is unknown.
    """

    def __init__(
        self, machines: Machines, board: Any, log: Callable[[str], None], bytes_per_second: float | None
    ) -> None:
        self.machines, self.board, self.log = machines, board, log
        self.bytes_per_second = bytes_per_second
        self._draining: dict[str, float | None] = {}

    def __call__(self) -> None:
        import ray

        # Ray has the ends in ms, and 0 where there is none.
        draining = {node: end / 1000 if end else None for node, end in self.machines.draining().items()}
        if draining != self._draining:
            self._draining = draining
            left_behind = ray.get(self.board.set_draining.remote(draining, self.bytes_per_second))
            for trial_id, activity in left_behind.items():
                self.log(
                    f"{trial_id} does not save itself before its node is taken down: {abandoned_text(activity)}"
                )


class DeadSlots:
    """Gives back what slots hold that have ended: a worker group that is slow to end outlives its slot, and Ray would
    keep its resources, for which the next trial waits. ``remove_groups`` returns how many groups it removed.
    """

    def __init__(self, remove_groups: Callable[[], int], log: Callable[[str], None]) -> None:
        self.remove_groups, self.log = remove_groups, log
        self._throttle = Throttle(DEAD_SLOT_SECONDS)

    def __call__(self) -> None:
        if self._throttle.due() and (removed := self.remove_groups()):
            self.log(f"gave back what {counted(removed, 'slot')} held that had ended")


class SlotLogs:
    """Writes to the run's log the lines that slots without access to the run folder have put on the board."""

    def __init__(self, board: Any, run_folder: Path) -> None:
        self.board, self.log = board, run_folder / "sweep.log"

    def __call__(self) -> None:
        import ray

        with files.open_to_append(self.log) as log:
            log.writelines(ray.get(self.board.take_log_lines.remote()))
