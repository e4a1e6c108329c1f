"""Feeds a tracker from a run folder: the steps of trials as they train, their records, and the whole run's summary."""

from __future__ import annotations

from pathlib import Path

from sweeps.runs.layout import SENT
from sweeps.tracking.base import FollowedRun, FollowedTrial, TrackedTrial, Tracker
from trainables import results
from trainables.storage import files


class RunFollower:
    """Sends what is new in a run folder each time it is updated. Raises ``DamagedFile``."""

    def __init__(self, folder: Path, tracker: Tracker) -> None:
        self.run = FollowedRun.read(folder)
        self.tracker, self.tracked = tracker, tracker.open(self.run)
        self.open_trials: dict[str, TrackedTrial] = {}
        self.sent = folder / tracker.name / SENT  # has a file for each trial that is sent completely
        self.sent.mkdir(parents=True, exist_ok=True)
        if self.tracked.is_new:
            for mark in self.sent.iterdir():
                mark.unlink()

    def update(self, last: bool = False) -> None:
        """Sends new steps, and ends the trials that have a record; with ``last``, all trials."""
        for folder in results.trial_folders(self.run.folder):
            if self._is_sent(folder.name):
                continue
            record = results.read_record(folder)
            trial = self.open_trials.get(folder.name) or self._begin(folder)
            self._send(folder, trial, whole=last or record is not None)
            if record is not None and record.status != "interrupted":
                trial.finish(record)
                # Marked last: after a crash before, the trial is sent again, under the same id.
                files.write_text(self.sent / folder.name, self.tracker.destination)
                del self.open_trials[folder.name]
        if last:
            for trial in self.open_trials.values():
                trial.finish(None)
            self.open_trials.clear()

    def _is_sent(self, trial: str) -> bool:
        mark = self.sent / trial
        # An earlier version wrote empty marks.
        return mark.exists() and mark.read_text(encoding="utf-8") in ("", self.tracker.destination)

    def _begin(self, folder: Path) -> TrackedTrial:
        trial = self.tracked.begin(FollowedTrial.read(self.run, folder))
        self.open_trials[folder.name] = trial
        return trial

    @staticmethod
    def _send(folder: Path, trial: TrackedTrial, whole: bool) -> None:
        """Sends complete steps in order. The newest step may still get points, so without ``whole`` it waits."""
        steps: dict[int, dict[str, float]] = {}
        for point in results.read_curve(folder):
            steps.setdefault(point["step"], {})[point["name"]] = point["value"]
        ready = sorted(steps) if whole else sorted(steps)[:-1]
        for step in ready:
            # Trackers take steps in increasing order alone.
            if step > trial.last_step:
                trial.log(step, steps[step])
                trial.last_step = step
        trial.flush()
