"""At which rung a trial was stopped, and how it stood there against the others of its cell."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.ui.snapshots.curves import READ_BYTES, Stamp, parsed_points, stamp_of
from trainables.results import TRAINING_OBJECTIVE, Record
from trainables.storage.damaged_files import DamagedFile

NAMES = {"validation": "objective", "training": TRAINING_OBJECTIVE}
Compared = Mapping[str, Mapping[int, float]]  # values by step, by name
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


def stop_at(
    record: Record,
    trial: Mapping[str, Mapping[int, float]],
    others: Iterable[Mapping[str, Mapping[int, float]]],
) -> dict[str, Any]:
    """Where a stopped trial stood: ``step`` and ``reason`` of its record, and at its last common step its ``value``,
    the ``best`` of its cell, its ``rank`` and ``of`` how many. ``others``: what the cell's other trials were compared
    by.
    """
    stop: dict[str, Any] = {"step": record.steps, "reason": record.stop_reason}
    name = NAMES[record.compared_by or "validation"]
    mine = trial.get(name, {})
    at = max((step for step in mine if record.steps is None or step <= record.steps), default=None)
    if at is None or record.stopped_by_hand:
        return stop
    values = [each[name][at] for each in others if at in each.get(name, {})]
    if not values:
        return stop
    rank = 1 + sum(value > mine[at] for value in values)
    return stop | {
        "rung": at,
        "value": mine[at],
        "best": max(mine[at], *values),
        "rank": rank,
        "of": len(values) + 1,
    }
