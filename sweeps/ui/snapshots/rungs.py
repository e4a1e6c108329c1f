"""At which rung a trial was stopped, and how it stood there against the others of its cell."""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.ui.snapshots.curves import READ_BYTES, Stamp, parsed_points, stamp_of
from sweeps.ui.snapshots.failure_kinds import failure_kind
from trainables.results import TRAINING_OBJECTIVE, Record
from trainables.storage.damaged_files import DamagedFile

if TYPE_CHECKING:
    from sweeps.ui.snapshots.trial_files import TrialFiles

NAMES = {"validation": "objective", "training": TRAINING_OBJECTIVE}
Compared = Mapping[str, Mapping[int, float]]  # values by step, by name
Cell = tuple[str, str]  # its name, and the role of the trials in it
MARKS = (b'"objective"', f'"{TRAINING_OBJECTIVE}"'.encode())


@dataclass
class RungValues:
    """What the trials of a run were compared by, by trial and name; read of a curve's lines that have it alone."""

    _values: dict[str, tuple[Stamp, dict[str, dict[int, float]]]] = field(default_factory=dict)

    def of(self, folder: Path) -> Compared:
        """Nothing for a trial without a curve, or whose curve can't be read."""
        path = folder / "curve.jsonl"
        with suppress(DamagedFile, OSError):
            stamp = stamp_of(path)
            known = self._values.get(folder.name)
            if stamp is not None and (known is None or known[0] != stamp):
                self._values[folder.name] = known = (stamp, _compared(path))
            return known[1] if known is not None else {}
        return {}


def _compared(path: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - READ_BYTES))
        content = file.read(READ_BYTES)
    lines = b"\n".join(line for line in content.splitlines() if any(mark in line for mark in MARKS))
    for step, name, value in parsed_points(lines):
        found.setdefault(name, {})[step] = value
    return found


class Stops:
    """Where stopped trials stood, by their ids in :attr:`of`; ``trials`` are those of a reader, by id.

    They follow from the run's folder alone: of a cell in which anything has changed, all are made anew.
    """

    def __init__(self, trials: Mapping[str, TrialFiles]) -> None:
        self.of: dict[str, dict[str, Any]] = {}
        self._trials = trials
        self._values = RungValues()
        self._cells: dict[
            Cell, dict[str, Compared]
        ] = {}  # what its trials were compared by, where one was stopped
        self._cell_of: dict[str, Cell] = {}

    def update(self, changed: Collection[str]) -> set[str]:
        """Returns the ids of the trials whose place has changed. ``changed``: trials whose files have."""
        gone = self._cell_of.keys() - self._trials.keys()
        stale = {self._cell_of.pop(name) for name in gone}
        for name in changed:
            trial = self._trials[name]
            before, now = self._cell_of.get(name), (trial.cell, trial.role)
            stale |= {now} if before is None else {before, now}
            self._cell_of[name] = now
        before_all = self.of
        self.of = {name: stop for name, stop in self.of.items() if self._cell_of.get(name) not in stale}
        self.of = {name: stop for name, stop in self.of.items() if name in self._trials}
        for cell in stale:
            self.of |= self._in_cell(cell, changed)
        names = before_all.keys() | self.of.keys()
        return {name for name in names if before_all.get(name) != self.of.get(name)}

    def _in_cell(self, cell: Cell, changed: Collection[str]) -> dict[str, dict[str, Any]]:
        alike = [each for each in self._trials.values() if (each.cell, each.role) == cell]
        stopped = [(each, each.record) for each in alike if each.record and each.record.status == "stopped"]
        if not stopped:
            self._cells.pop(cell, None)
            return {}
        known = self._cells.get(cell, {})
        values = {
            name: self._values.of(each.folder) if name in changed or name not in known else known[name]
            for each in alike
            for name in (each.folder.name,)
        }
        self._cells[cell] = values
        reached = _reached(values.values())
        return {
            each.folder.name: stop_at(record, values[each.folder.name], reached) for each, record in stopped
        }


def _reached(trials: Iterable[Compared]) -> dict[tuple[str, int], list[float]]:
    """The values of all trials that have one, ascending, by name and step."""
    found: dict[tuple[str, int], list[float]] = {}
    for trial in trials:
        for name, values in trial.items():
            for step, value in values.items():
                if not math.isnan(value):
                    found.setdefault((name, step), []).append(value)
    for each in found.values():
        each.sort()
    return found


def stop_at(
    record: Record, trial: Compared, reached: Mapping[tuple[str, int], list[float]]
) -> dict[str, Any]:
    """Where a stopped trial stood: ``step`` and ``reason`` of its record, and at its last common step its ``value``,
    the ``best`` of its cell, its ``rank`` and ``of`` how many that have reached the step by now. ``reached``: the
    values of the cell's trials, ascending, by name and step.
    """
    stop: dict[str, Any] = {
        "step": record.steps,
        "reason": record.stop_reason,
        "kind": failure_kind(record.stop_reason),
    }
    name = NAMES[record.compared_by or "validation"]
    mine = trial.get(name, {})
    at = max((step for step in mine if record.steps is None or step <= record.steps), default=None)
    if at is None or record.stopped_by_hand or math.isnan(mine[at]):
        return stop
    values = reached[name, at]
    if len(values) < 2:
        return stop
    return stop | {
        "rung": at,
        "value": mine[at],
        "best": values[-1],
        "rank": 1 + len(values) - bisect_right(values, mine[at]),
        "of": len(values),
    }
