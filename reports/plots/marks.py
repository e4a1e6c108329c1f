"""What stands behind the marks of a figure: the cells that they show, and what they say when they are pointed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reports import units
from reports.analysis.cells import Cell
from reports.analysis.group import Group
from reports.analysis.quality_names import objective_scale, quality_name
from reports.analysis.row import Row
from reports.plots.drawing import Mark
from reports.plots.style import ending_text, role_text, steps_text
from trainables.results import Record

if TYPE_CHECKING:
    from matplotlib.artist import Artist


class Marks:
    """Collects the marks of a figure while it is drawn; each artist gets an id that its element in the SVG has, too."""

    def __init__(self) -> None:
        self._by_id: dict[str, Mark] = {}

    def add(self, artist: Artist, cells: Sequence[Cell], text: str = "") -> None:
        gid = f"mark-{len(self._by_id) + 1}"
        artist.set_gid(gid)
        self._by_id[gid] = Mark(tuple(dict.fromkeys(cell.key for cell in cells)), text)

    @property
    def by_id(self) -> Mapping[str, Mark]:
        return dict(self._by_id)


def cell_text(group: Group, row: Row) -> str:
    """A cell's point: its name, the settings of its best trial, its quality with interval, its memory."""
    seeds = f", the mean of {row.seeds} seeds" if row.seeds > 1 else ""
    quality = units.quality_with_interval(row.quality, group.interval(row), group.unit, "95 %: ")
    trial = f"best trial {row.best.trial_id}" if row.best is not None else ""
    lines = [
        row.display_name,
        trial,
        units.settings(row.settings),
        f"test {quality_name(group)} {quality}{seeds}",
        f"peak memory {units.gib(row.peak)}",
        "on the Pareto front" if row.on_front else "",
    ]
    return "\n".join(line for line in lines if line)


def trial_text(group: Group, row: Row, record: Record) -> str:
    """A trial: its cell, id and status, its settings, qualities, memory and time."""
    scale = objective_scale(group)
    objective = None if record.comparable_objective is None else scale.shown(record.comparable_objective)
    lines = [
        f"{row.display_name}, trial {record.trial_id}{_role(row, record)}",
        _status(record),
        units.settings(row.cell.settings(record)),
        _known(f"test {quality_name(group)}", units.quality(record.quality, group.unit), record.quality),
        _known(f"validation {scale.name}", units.quality(objective, scale.unit), objective),
        _known("peak memory", units.gib(record.peak_bytes), record.peak_bytes),
        _known("training time", units.duration(record.train_seconds), record.train_seconds),
    ]
    return "\n".join(line for line in lines if line)


def _role(row: Row, record: Record) -> str:
    if record.role in ("finalist", "added"):
        return role_text(record)
    return ", the best of its cell" if row.best is not None and record.trial_id == row.best.trial_id else ""


def _status(record: Record) -> str:
    steps = steps_text(record)
    return f"{ending_text(record)}{f' at step {steps}' if steps else ''}"


def _known(name: str, text: str, value: object) -> str:
    return f"{name} {text}" if value is not None else ""
