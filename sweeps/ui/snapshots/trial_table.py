"""The rows of a run's trials; the row of a trial is made anew only where something of it has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from sweeps.runs.status import Signs
from sweeps.ui.snapshots.differing import DifferingSettings
from sweeps.ui.snapshots.rows import trial_row
from sweeps.ui.snapshots.rungs import Stops
from sweeps.ui.snapshots.trial_files import TrialFiles

Row = dict[str, Any]


class TrialTable:
    """``trials``, by id, are those of a reader, which adds and removes some."""

    def __init__(self, trials: Mapping[str, TrialFiles]) -> None:
        self._trials = trials
        self.settings = DifferingSettings()
        self._stops = Stops(trials)
        self._rows: dict[str, Row] = {}  # in the order in which the trials started
        self._made_of: dict[str, tuple[str, str | None]] = {}  # by trial: its status, and what it is doing

    @property
    def columns(self) -> list[str]:
        return self.settings.columns

    @property
    def statuses(self) -> Counter[str]:
        """How many trials have each status."""
        return Counter(status for status, _ in self._made_of.values())

    def update(self, changed: Collection[str], signs: Signs, driven: bool) -> dict[str, Row]:
        """The rows by id. ``driven``: whether a driver lives and has said what its trials do."""
        gone = self._rows.keys() - self._trials.keys()
        # Every one of them is added, whatever the first one says.
        more = {name for name in changed if self._add_settings(name)}
        changed = set(self._trials) if more else changed
        said = signs.trials if driven else {}
        rows = {name: row for name, row in self._rows.items() if name not in gone}
        self._made_of = {name: each for name, each in self._made_of.items() if name not in gone}
        moved, new = self._stops.update(changed), False
        for name, trial in self._trials.items():
            if not trial.begun and not trial.damaged:
                continue
            made_of = (_status(trial, said, driven), said.get(name))
            if name in changed or name in moved or self._made_of.get(name) != made_of:
                row = trial_row(trial, self.settings.of(name), *made_of)
                rows[name], self._made_of[name], new = row | {"stop": self._stops.of.get(name)}, made_of, True
        if new or gone:
            order = sorted(rows, key=lambda name: (rows[name]["started_at"] or "~", name))
            self._rows = {name: rows[name] for name in order}
        return self._rows

    def _add_settings(self, name: str) -> bool:
        trial = self._trials[name]
        config = trial.settings_tree
        return bool(config) and self.settings.add(name, trial.cell, trial.role, config)


def _status(trial: TrialFiles, said: Mapping[str, str], driven: bool) -> str:
    if trial.damaged:
        return "damaged"
    if trial.ended and trial.record is not None:
        return trial.record.status
    if driven and (not said or trial.folder.name in said):
        return "running"
    # Of a search in breadth: it has reached a rung, and waits for the others.
    if driven and trial.step:
        return "paused"
    return "waiting" if driven else "interrupted" if trial.step or trial.record else "unfinished"
