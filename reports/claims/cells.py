"""The cells that a claim names, among those of a report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reports import units
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.analysis.runs.progress import progress
from reports.statistics.comparisons import MIN_CLUSTERS


@dataclass(frozen=True)
class NamedCells:
    """The rows of one group by the names of a claim, in their order; ``obstacle``: why they can't be compared."""

    names: tuple[str, ...]
    group: Group | None = None
    rows: tuple[Row, ...] = ()
    obstacle: str | None = None

    @property
    def unit(self) -> str | None:
        return self.group.unit if self.group is not None else None

    def without_quality(self) -> str | None:
        """Why the qualities of these cells, over seeds, can't be compared."""
        if self.obstacle is not None:
            return self.obstacle
        assert self.group is not None
        for row in self.rows:
            if row.quality is None:
                return f"{row.name} has no quality: no trial of it was scored"
            if row.cell.estimate is None:
                return f"the scores of {row.name} by row are missing"
            if row.cell.estimate.clusters < MIN_CLUSTERS:
                return f"{row.name} was scored on fewer than {MIN_CLUSTERS} independent rows"
        if self.group.seed_variance is None:
            return "each cell was trained with one seed; what others would give is not known (finalists: {seeds: 3})"
        return None


def named_cells(groups: Sequence[Group], names: Sequence[str], run: str | None) -> NamedCells:
    """The cells of those names, of their methods, or as the report calls them; of the run in the folder ``run``, or
    with ``None`` of any.
    """
    found = [[(group, row) for group in groups for row in _rows(group, name, run)] for name in names]
    asked = tuple(names)
    for name, places in zip(names, found, strict=True):
        if not places:
            return NamedCells(asked, obstacle=f"there is no cell {name} in this report")
    for group in groups:
        rows = [_rows(group, name, run) for name in names]
        if any(len(each) > 1 for each in rows):
            several = next(each for each in rows if len(each) > 1)
            labels = units.join([row.cell.label for row in several])
            return NamedCells(asked, obstacle=f"one name stands for several cells: {labels}")
        if all(rows):
            return _compared(asked, group, tuple(each[0] for each in rows))
    return NamedCells(
        asked,
        obstacle=f"{units.join(list(names))} are measured otherwise, or of other data, and are not compared",
    )


def _compared(names: tuple[str, ...], group: Group, rows: tuple[Row, ...]) -> NamedCells:
    if len({row.cell.label for row in rows}) < len(rows):
        return NamedCells(names, group, rows, f"{rows[0].name} is not compared with itself")
    # A verdict that is looked up again and again while trials end would be wrong more often than it says.
    unfinished = [found.text for row in rows if (found := progress(row.cell.run)) is not None]
    return NamedCells(names, group, rows, f"the run is unfinished, {unfinished[0]}" if unfinished else None)


def _rows(group: Group, name: str, run: str | None) -> list[Row]:
    rows = [row for row in group.rows if run is None or str(row.cell.run.folder) == run]
    wanted = _plain(name)
    for names_of in (
        lambda row: (row.cell.name, row.cell.label),
        lambda row: (row.name, row.cell.method),
    ):
        if found := [row for row in rows if wanted in map(_plain, names_of(row))]:
            return found
    return []


def _plain(name: str) -> str:
    return re.sub(r"[\s=_-]+", "-", name.strip()).casefold()
