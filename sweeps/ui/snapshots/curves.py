"""The curve of one trial, read on as its file grows, and made thin for a figure."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.storage.damaged_files import DamagedFile, reading
from trainables.system.shown_text import shown

Points = dict[int, float]  # values by step
Stamp = tuple[int, int]  # a file's size and the time of its last change, in ns
CURVE_POINTS = 200
FIGURE_POINTS = 10_000
# Of the curve of one trial, which may be somebody else's: bytes that are read at once, names, and points of a name.
READ_BYTES, MAX_NAMES, MAX_POINTS = 16 * 2**20, 100, 20_000
NAME_CHARACTERS = 100
MAX_STEP = 2**53  # that a browser can count to


@dataclass
class CurveFile:
    """``curve.jsonl`` of a trial. ``points``: by name, as far as :meth:`update` has read; ``stamp``: of the file then.

    A resumed trial repeats the steps after its checkpoint, so the last line for a step and name counts. Of a long file
    that is read for the first time, the last 16 MiB count; of many points every other one is kept.
    """

    path: Path
    points: dict[str, Points] = field(default_factory=dict)
    stamp: Stamp | None = None
    _offset: int = 0

    @property
    def last_step(self) -> int | None:
        return max((max(values) for values in self.points.values()), default=None)

    def update(self) -> bool:
        """Reads what was added; returns whether there was anything. Raises ``DamagedFile`` for what can't be read."""
        stamp = stamp_of(self.path)
        if stamp is None or stamp == self.stamp:
            return False
        if stamp[0] < self._offset:
            self.points, self._offset = {}, 0
        with reading(self.path):
            self._read(stamp[0])
        self.stamp = stamp
        return True

    def _read(self, size: int) -> None:
        self._offset = max(self._offset, size - READ_BYTES)
        with self.path.open("rb") as file:
            file.seek(self._offset)
            content = file.read(READ_BYTES)
        # The last line may be half written: it is read once it is whole.
        whole = content.rfind(b"\n") + 1
        self._offset += whole
        for step, name, value in parsed_points(content[:whole]):
            if name in self.points or len(self.points) < MAX_NAMES:
                self._add(name, step, value)

    def _add(self, name: str, step: int, value: float) -> None:
        values = self.points.setdefault(name, {})
        values[step] = value
        if len(values) > MAX_POINTS:
            *earlier, last = sorted(values)
            self.points[name] = {each: values[each] for each in (*earlier[::2], last)}


def parsed_points(content: bytes) -> Iterator[tuple[int, str, float]]:
    """The points in lines of a curve; lines that hold none, as a killed process leaves them, are left out."""
    for line in content.splitlines():
        with suppress(ValueError, TypeError, KeyError, RecursionError, OverflowError):
            point = json.loads(line)
            step = int(point["step"])
            if abs(step) <= MAX_STEP:
                yield step, shown(str(point["name"]))[:NAME_CHARACTERS], float(point["value"])


def stamp_of(path: Path | str) -> Stamp | None:
    """A file's size and time; ``None`` where there is none. Raises ``DamagedFile`` for a link or a pipe."""
    try:
        status = os.lstat(path)  # through a link in somebody else's run, files of this user would be shown
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise DamagedFile(f"{path} is no regular file: no run has such an entry; remove it")
    return status.st_size, status.st_mtime_ns


def thinned(points: Mapping[int, float], limit: int = CURVE_POINTS) -> list[list[float]]:
    """``[step, value]`` of at most ``limit`` points by step: of each stretch its lowest and its highest one, so that
    a peak of a single step stays visible, and always the last.

    >>> thinned({1: 3.0, 2: 9.0, 3: 1.0, 4: 2.0, 5: 2.5, 6: 2.0, 7: 4.0}, 5)
    [[2, 9.0], [3, 1.0], [4, 2.0], [5, 2.5], [7, 4.0]]
    """
    # Infinite losses have no place in a figure, and none in JSON.
    ordered = [(step, value) for step, value in sorted(points.items()) if abs(value) < float("inf")]
    if len(ordered) <= limit:
        return [[step, value] for step, value in ordered]
    *rest, last = ordered
    stretches = max(1, (limit - 1) // 2)
    kept = [pair for number in range(stretches) for pair in _extremes(_stretch(rest, number, stretches))]
    return [[step, value] for step, value in (*kept, last)]


def _stretch(ordered: Sequence[tuple[int, float]], number: int, count: int) -> Sequence[tuple[int, float]]:
    size = len(ordered)
    return ordered[number * size // count : (number + 1) * size // count]


def _extremes(stretch: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    low, high = min(stretch, key=lambda pair: pair[1]), max(stretch, key=lambda pair: pair[1])
    return sorted({low, high})


def figure_curves(curves: Sequence[dict[str, Any]], total: int = FIGURE_POINTS) -> list[dict[str, Any]]:
    """Curves with their ``points``, values by step, made thin: at most 200 points each, and ``total`` in all."""
    limit = max(2, min(CURVE_POINTS, total // max(1, len(curves))))
    return [{**curve, "points": thinned(curve["points"], limit)} for curve in curves]
