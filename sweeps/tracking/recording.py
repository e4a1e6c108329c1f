"""All trackers of a run, which record it while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.planning.plan import Plan
from sweeps.tracking.base import Tracker
from sweeps.tracking.supervision import TrackerProcess
from sweeps.tracking.trackers import TRACKERS

FINISH_SECONDS = 120.0  # for uploading what is left once the sweep has ended, of all trackers together
LEAVE_SECONDS = 2.0  # for the same after Ctrl-C


class Trackers:
    """Records a run within ``recording`` in the trackers that its spec asks for.

    Raises ``SpecError`` if the spec requires what is impossible here, such as ``wandb: online`` without a key.
    """

    def __init__(self, plan: Plan, run_folder: Path) -> None:
        requested = (kind.requested(plan.spec.tracking) for kind in TRACKERS)
        self.trackers: tuple[Tracker, ...] = tuple(one for one in requested if one is not None)
        self.run_folder = run_folder
        self.finish_seconds = FINISH_SECONDS
        self.processes: list[TrackerProcess] = []
        self._is_given = "tracking" in plan.spec.source.tree

    @contextmanager
    def recording(
        self,
        log: Callable[[str], None],
        resume_command: str = "--resume",
        quiet_log: Callable[[str], None] | None = None,
    ) -> Iterator[None]:
        """Runs the trackers' processes within the block.

        ``log`` gets a line about what each does, one as soon as it fails, and one at the end if not everything was
        sent. ``quiet_log``, where there is one, gets the line about a tracker that nobody asked for: W&B offline, on a
        machine that is not logged in.
        """
        for tracker in self.trackers:
            self._start(tracker, log, resume_command, quiet_log or log)
        try:
            yield
        except BaseException:
            self.hurry()
            raise
        finally:
            for process in self.processes:
                process.ask_to_end()
            deadline = time.monotonic() + self.finish_seconds
            for process in self.processes:
                process.end(deadline, self.finish_seconds)
            self.processes.clear()

    def _start(
        self,
        tracker: Tracker,
        log: Callable[[str], None],
        resume_command: str,
        quiet_log: Callable[[str], None],
    ) -> None:
        process = TrackerProcess(tracker, self.run_folder, log, resume_command)
        say = quiet_log if tracker.quiet and not self._is_given else log
        say(f"{tracker.label}: {tracker.announcement(process.folder)}")
        for note in tracker.notes():
            log(note)
        process.start()
        self.processes.append(process)

    def summarize(self) -> None:
        """Requests the summaries, once the tables and the report are written."""
        for process in self.processes:
            process.summarize()

    def hurry(self) -> None:
        """Limits the time for uploads, as the sweep was interrupted; a resumed run sends the rest."""
        self.finish_seconds = LEAVE_SECONDS
