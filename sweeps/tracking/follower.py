"""Feeds a tracker from a run folder: the steps of trials as they train, their records, and the whole run's summary."""

from __future__ import annotations

import sys
from pathlib import Path

from sweeps.runs.layout import SENT
from sweeps.tracking.base import FollowedRun, FollowedTrial, TrackedTrial, Tracker
from trainables import results
from trainables.storage import files
from trainables.storage.damaged_files import DamagedFile
from trainables.system import redaction


class RunFollower:
    """Sends what is new in a run folder each time it is updated. Raises ``DamagedFile`` where the run is damaged.

    ``damaged``: the trials that can't be read, which cost the others nothing.
    """

    def __init__(self, folder: Path, tracker: Tracker) -> None:
        self.run = FollowedRun.read(folder)
        self.tracker, self.tracked = tracker, tracker.open(self.run)
        self.open_trials: dict[str, TrackedTrial] = {}
        self.damaged: set[str] = set()
        self.sent = folder / tracker.name / SENT  # has a file for each trial that is sent completely
        self.sent.mkdir(parents=True, exist_ok=True)
        if self.tracked.is_new:
            for mark in self.sent.iterdir():
                mark.unlink()

    def update(self, last: bool = False) -> None:
        """Sends new steps, and ends the trials that have a record; with ``last``, all trials."""
        for folder in results.trial_folders(self.run.folder):
            if self._is_sent(folder.name) or folder.name in self.damaged:
                continue
            try:
                self._update(folder)
            except DamagedFile as error:
                self.damaged.add(folder.name)
                reason = redaction.redacted(str(error))
                print(f"{folder.name} is not sent to its end: {reason}", file=sys.stderr, flush=True)
        if last:
            for trial in self.open_trials.values():
                trial.finish(None)
            self.open_trials.clear()

    def _update(self, folder: Path) -> None:
        record = results.read_record(folder)
        has_ended = record is not None and record.status != "interrupted"
        trial = self.open_trials.get(folder.name) or self._begin(folder)
        # One that was interrupted or that waits to go on trains its newest step again, maybe with more points.
        self._send(folder, trial, whole=has_ended)
        if has_ended:
            trial.finish(record)
            # Marked last: after a crash before, the trial is sent again, under the same id.
            files.write_text(self.sent / folder.name, self.tracker.destination)
            del self.open_trials[folder.name]

    def _is_sent(self, trial: str) -> bool:
        mark = self.sent / trial
        # An earlier version wrote empty marks, wherever it sent to: what they mark is sent again, under the same id.
        return mark.exists() and mark.read_text(encoding="utf-8") == self.tracker.destination

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
