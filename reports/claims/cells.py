"""The cells that a claim names, among those of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import units
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.analysis.runs.progress import progress
from reports.statistics.comparisons import MIN_CLUSTERS
from reports.text import text
from trainables.results import WITHIN_ONE, cells_named


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

    @property
    def keys(self) -> tuple[str, ...]:
        """What tells these cells from those of other runs and groups."""
        return tuple(row.cell.key for row in self.rows)

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the runs that the rows are of, each once."""
        return tuple(dict.fromkeys(row.cell.run.name for row in self.rows))

    def without_quality(self, margin: float | None = None) -> str | None:
        """Why the qualities of these cells, over seeds, can't be compared, or not by that margin."""
        if self.obstacle is not None:
            return self.obstacle
        assert self.group is not None
        for row in self.rows:
            if row.quality is None:
                return text("{cell} has no quality: no trial of it was scored", cell=row.name)
            if row.cell.estimate is None:
                return text("the scores of {cell} by row are missing", cell=row.name)
            if row.cell.estimate.clusters < MIN_CLUSTERS:
                return text(
                    "{cell} was scored on fewer than {count} independent rows",
                    cell=row.name,
                    count=MIN_CLUSTERS,
                )
            if row.seeds < 2:
                return one_seed(row)
        if self.group.seed_variance is None:
            return text("what other seeds would give is not known (finalists: {{seeds: 3}})")
        record = self.group.metric_record
        share = self.unit == "fraction" or (record is not None and record.quality_name in WITHIN_ONE)
        if margin is not None and margin >= 1 and share:
            return text(
                "a margin of {margin} is as much as the quality can differ: 2 points are 0.02",
                margin=f"{margin:g}",
            )
        return None


def one_seed(row: Row) -> str:
    """Why a cell can't be compared over seeds, and what to do."""
    return text(
        "{cell} was trained with one seed; what others would give is not known (finalists: {{seeds: 3}})",
        cell=row.name,
    )


def named_cells(groups: Sequence[Group], names: Sequence[str], run: str | None) -> list[NamedCells]:
    """The cells of those names, of their methods, or as the report calls them, in each group that has all of them: of
    the run in the folder ``run``, or with ``None`` of any. Where several runs of a group have cells of one name, those
    of each run. One with an obstacle where there are none.
    """
    asked = tuple(names)
    for name in names:
        if not any(_rows(group, name, run) for group in groups):
            return [NamedCells(asked, obstacle=text("there is no cell {name} in this report", name=name))]
    found = [each for group in groups for each in _in_group(group, asked, run)]
    if found:
        return found
    obstacle = text(
        "{names} are measured otherwise, or of other data, and are not compared",
        names=units.join(list(names)),
    )
    return [NamedCells(asked, obstacle=obstacle)]


def _in_group(group: Group, names: tuple[str, ...], run: str | None) -> list[NamedCells]:
    rows = [_rows(group, name, run) for name in names]
    if not all(rows):
        return []
    if all(len(each) == 1 for each in rows):
        return [_compared(names, group, tuple(each[0] for each in rows))]
    folders = dict.fromkeys(str(row.cell.run.folder) for row in group.rows)
    if run is None and (own := [each for folder in folders for each in _in_group(group, names, folder)]):
        return own
    several = next(each for each in rows if len(each) > 1)
    labels = units.join([row.cell.label for row in several])
    return [
        NamedCells(names, group, obstacle=text("one name stands for several cells: {names}", names=labels))
    ]


def _compared(names: tuple[str, ...], group: Group, rows: tuple[Row, ...]) -> NamedCells:
    if len({row.cell.label for row in rows}) < len(rows):
        return NamedCells(names, group, rows, text("{cell} is not compared with itself", cell=rows[0].name))
    # A verdict that is looked up again and again while trials end would be wrong more often than it says.
    unfinished = [found.text for row in rows if (found := progress(row.cell.run)) is not None]
    obstacle = text("the run is unfinished, {progress}", progress=unfinished[0]) if unfinished else None
    return NamedCells(names, group, rows, obstacle)


def _rows(group: Group, name: str, run: str | None) -> list[Row]:
    rows = [row for row in group.rows if run is None or str(row.cell.run.folder) == run]
    return cells_named(
        name,
        rows,
        lambda row: (row.cell.name, row.cell.label),
        lambda row: (row.name, row.cell.method),
    )
