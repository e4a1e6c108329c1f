"""Reads a run's folder again and again; what has not changed since the last time is not read anew."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sweeps.runs import lock
from sweeps.runs.layout import REQUESTS, read_environment
from sweeps.runs.status import RunState, Signs, UnfinishedTrial, read_signs
from sweeps.runs.trial_requests import OpenRequests, open_requests
from sweeps.ui.snapshots.activity import activity
from sweeps.ui.snapshots.curves import Stamp, stamp_of
from sweeps.ui.snapshots.head import ReadRun, run_head
from sweeps.ui.snapshots.snapshot import RunSnapshot
from sweeps.ui.snapshots.trial_files import TrialFiles
from sweeps.ui.snapshots.trial_table import TrialTable
from trainables.results import Record
from trainables.storage.damaged_files import DamagedFile

Holder = Callable[[], str | None]


class RunReader:
    """The run in ``folder``, which users call ``place``. ``holder`` returns the process that runs it, if the folder's
    lock doesn't name it.
    """

    def __init__(self, key: str, place: str, folder: Path, holder: Holder | None = None) -> None:
        self.key, self.place, self.folder = key, place, folder
        self._holder = holder or (lambda: lock.holder(folder))
        self.trials: dict[str, TrialFiles] = {}
        self.table = TrialTable(self.trials)
        self._changed = set[str]()  # trials whose rows are still those of an earlier state
        self.environment: dict[str, Any] = {}
        self._environment_stamp: Stamp | None = None
        self._made_of: tuple[Any, ...] | None = None  # what the last state and head follow from
        self._state = RunState(place, None, {}, (), ())
        self._head: dict[str, Any] = {}

    def read(self) -> RunSnapshot:
        """The run's state now. Files that can't be read are named in it."""
        problems = list[str]()
        self._read_environment(problems)
        self._changed |= self._update_trials()
        changed = self._changed & self.trials.keys()
        holder = self._holder()
        signs = read_signs(self.folder) if holder else Signs()
        problems += [trial.damaged for trial in self.trials.values() if trial.damaged]
        made_of = (self._environment_stamp, self._requested(), holder, signs, problems, len(self.trials))
        same = not changed and made_of == self._made_of
        if not same:
            self._state = self._new_state(holder, signs, problems)
        doing = self._activity()
        rows = self.table.update(changed, signs, driven=holder is not None and doing.state != "starting")
        self._changed = set()
        if not same or self._head.get("state") != doing.state or self._head.get("reason") != doing.reason:
            self._head = run_head(self._read_run(), self._state, doing)
            self._made_of = made_of
        return RunSnapshot(self._head, rows, tuple(self.table.columns), round(time.time(), 3))

    def _read_run(self) -> ReadRun:
        changed = max((trial.changed for trial in self.trials.values()), default=None)
        return ReadRun(self.key, self.place, self.folder, self.environment, self.table.statuses, changed)

    def _activity(self) -> Any:
        state = self._state
        begun = any(trial.begun for trial in self.trials.values())
        remaining = state.remaining or len(state.unfinished)
        return activity(self.folder, state.holder, remaining, begun, bool(state.budgets))

    def _read_environment(self, problems: list[str]) -> None:
        try:
            stamp = stamp_of(self.folder / "environment.json")
            if stamp != self._environment_stamp:
                self._environment_stamp, self.environment = stamp, {}
                self.environment = read_environment(self.folder) or {}
        except DamagedFile as error:
            self._environment_stamp = None  # looked at again, and said again
            problems.append(str(error))

    def _update_trials(self) -> set[str]:
        """Looks at each trial's files; returns the ids of those that have changed."""
        names = set(_folder_names(self.folder / "trials"))
        for gone in self.trials.keys() - names:
            del self.trials[gone]
        changed = set[str]()
        for name in names:
            trial = self.trials.get(name)
            if trial is None:
                self.trials[name] = trial = TrialFiles(self.folder / "trials" / name)
            if trial.update():
                changed.add(name)
        return changed

    def _new_state(self, holder: str | None, signs: Signs, problems: list[str]) -> RunState:
        plan = self.environment.get("plan") or {}
        unfinished = [
            UnfinishedTrial(name, trial.cell, trial.step, 0.0, signs.trials.get(name))
            for name, trial in self.trials.items()
            if trial.begun and not trial.ended and not trial.damaged
        ]
        return RunState(
            run=self.place,
            holder=holder,
            budgets=plan.get("trials") or {},
            records=tuple(self.records()),
            unfinished=tuple(unfinished),
            finalists=plan.get("finalists") or {},
            damaged=tuple(problems),
            waits=signs.waits,
            first_comparison=self.environment.get("first_comparison"),
            requests=open_requests(self.folder) if self._requested() is not None else OpenRequests(),
        )

    def _requested(self) -> int | None:
        """The time of the last request of a person about a single trial, in ns; ``None`` without any."""
        try:
            return (self.folder / REQUESTS).stat().st_mtime_ns
        except OSError:
            return None

    def records(self) -> Iterator[Record]:
        """The final records, in no order."""
        return (t.record for t in self.trials.values() if t.record is not None and t.ended)


def _folder_names(trials: Path) -> Iterator[str]:
    try:
        with os.scandir(trials) as entries:
            # A link would lead to a trial of another place.
            yield from (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
