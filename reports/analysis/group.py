"""A group of cells that can be compared, and each cell's row in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from reports.analysis import uncertainty
from reports.analysis.cells import Cell
from reports.analysis.row_scores import rows_of
from trainables.results import Record, Status

BASE = "base"  # the method of what isn't trained


@dataclass(frozen=True)
class Row:
    """One cell in the comparison. ``name`` tells it apart in its group: its method, where that will do."""

    name: str
    cell: Cell
    share_of_best_quality: float | None
    share_of_largest_peak: float | None
    on_front: bool
    on_rows_of: str | None = None  # the stage whose test rows a base was scored on, where it was on several

    @property
    def best(self) -> Record | None:
        return self.cell.best

    @property
    def start(self) -> str | None:
        """The cell or trial whose weights it goes on from; ``None`` for the base model's."""
        record = self.cell.records[0]
        return record.start_cell or record.start_trial

    @property
    def told(self) -> str:
        """How tables and figures call it: what is not trained is ``untuned``, or ``before`` where a start was."""
        if not self.cell.is_base:
            return self.name
        aside = [*filter(None, [self.start, self.on_rows_of and f"on the rows of {self.on_rows_of}"])]
        if self.start is not None:
            return f"before ({', '.join(aside)})"
        untuned = "untuned" if self.name == BASE or self.on_rows_of else self.name
        return f"{untuned} ({aside[0]})" if aside else untuned

    @property
    def described(self) -> str:
        """A base row in a sentence."""
        return "the untuned base model" if self.start is None else f"{self.start} as it was before"

    @property
    def peak(self) -> int | None:
        return self.best.peak_train_bytes if self.best else None

    @property
    def quality(self) -> float | None:
        return self.best.quality if self.best else None

    @property
    def settings(self) -> dict[str, Any]:
        return self.cell.settings(self.best) if self.best else {}

    @property
    def counts(self) -> dict[str, int]:
        """How many of the cell's trials ended in each way (not counting winners trained again)."""
        found = Counter(record.status for record in self.cell.records if record.role != "finalist")
        return {status: found[status] for status in get_args(Status)}

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The quality's 95 % interval: Wilson's of a proportion of rows, Newcombe's of an area under a curve,
        else a bootstrap over the test rows; ``None`` where these aren't there.
        """
        best = self.best
        if best is None or best.quality is None:
            return None
        if best.quality_unit == "fraction" and best.test_rows:
            return uncertainty.wilson(best.quality, best.test_rows)
        rows = rows_of(self.cell.run, best)
        return rows.interval if rows is not None else None


@dataclass(frozen=True)
class Group:
    """The cells that can be compared: of one stage, model and data set. Best quality first, unknown last."""

    stage: str
    model: str
    data: str
    rows: tuple[Row, ...]
    bases: tuple[Row, ...]  # the untuned model; one for each run that scored it

    @property
    def title(self) -> str:
        return f"{self.stage} of {self.model} on {self.data}"

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The cells, then the untuned base model."""
        return self.rows + self.bases

    def base_of(self, row: Row) -> Row | None:
        """What a cell started from, if it was scored: the untuned base model, or an earlier stage's best."""
        scored = (base for base in self.bases if base.quality is not None and base.start == row.start)
        return next(scored, None)

    @property
    def base(self) -> Row | None:
        """What all its cells started from, if it is one model and was scored."""
        starts = {row.start for row in self.rows}
        return self.base_of(self.rows[0]) if len(starts) == 1 else None

    @property
    def scored_rows(self) -> list[Row]:
        """The cells that have a best trial with a quality."""
        return [row for row in self.rows if row.quality is not None]

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """The leaves that were searched in any of the cells, by path; the methods' own before training's."""
        paths = dict.fromkeys(path for row in self.rows for path in row.cell.searched)
        return tuple(sorted(paths, key=lambda path: path.startswith("train.")))

    @cached_property
    def scored(self) -> Record | None:
        """A record that knows the group's metric: its name, unit and direction."""
        records = (record for row in self.all_rows for record in row.cell.records)
        return next((record for record in records if record.quality_name is not None), None)

    @property
    def higher_is_better(self) -> bool:
        return self.scored is None or self.scored.quality_higher_is_better is not False

    def better(self, one: float, other: float) -> bool:
        return one > other if self.higher_is_better else one < other
