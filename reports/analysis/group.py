"""A group of cells that can be compared with one another, and each cell's row in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from reports.analysis import uncertainty
from reports.analysis.cells import Cell
from reports.analysis.row_scores import row_scores
from trainables.results import Record, Status

BASE = "base"  # the method of the row of a model that is not trained


@dataclass(frozen=True)
class Row:
    """One cell in the comparison. ``name`` is unique in its group: its method, or its label where methods repeat."""

    name: str
    cell: Cell
    share_of_best_quality: float | None
    share_of_largest_peak: float | None
    on_front: bool
    # Of a base: the stage whose test rows it was scored on, where several did.
    test_rows_of: str | None = None

    @property
    def best(self) -> Record | None:
        return self.cell.best

    @property
    def start(self) -> str | None:
        """The cell or trial whose weights this cell starts from; ``None`` if it starts from the base model."""
        record = self.cell.records[0]
        return record.start_cell or record.start_trial

    @property
    def display_name(self) -> str:
        """The name in tables and figures; a row that is not trained is ``untuned``, or ``before (START)``."""
        if not self.cell.is_base:
            return self.name
        details = [*filter(None, [self.start, self.test_rows_of and f"on the rows of {self.test_rows_of}"])]
        if self.start is not None:
            return f"before ({', '.join(details)})"
        untuned = "untuned" if self.name == BASE or self.test_rows_of else self.name
        return f"{untuned} ({details[0]})" if details else untuned

    @property
    def description(self) -> str:
        """The name of a base row in a sentence."""
        return "the untuned base model" if self.start is None else f"{self.start} before further training"

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
        """How many of the cell's trials ended with each status, not counting winners that were trained again."""
        counts = Counter(record.status for record in self.cell.records if record.role != "finalist")
        return {status: counts[status] for status in get_args(Status)}

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The quality's 95 % interval; ``None`` without the numbers for it.

        Wilson's for a share of rows, Newcombe's for an area under a curve, else a bootstrap over the test rows.
        """
        best = self.best
        if best is None or best.quality is None:
            return None
        if best.quality_unit == "fraction" and best.test_rows:
            return uncertainty.wilson(best.quality, best.test_rows)
        scores = row_scores(self.cell.run, best)
        return scores.interval if scores is not None else None


@dataclass(frozen=True)
class Group:
    """The cells of one stage, model and data set: the best quality first, unknown qualities last."""

    stage: str
    model: str
    data: str
    rows: tuple[Row, ...]
    bases: tuple[Row, ...]  # models before training; one for each starting point and run that scored it

    @property
    def title(self) -> str:
        return f"{self.stage} of {self.model} on {self.data}"

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The cells, then the models before training."""
        return self.rows + self.bases

    def base_of(self, row: Row) -> Row | None:
        """The row of what a cell started from, if that was scored: the untuned model, or an earlier stage's best."""
        scored = (base for base in self.bases if base.quality is not None and base.start == row.start)
        return next(scored, None)

    @property
    def base(self) -> Row | None:
        """The row of what all cells started from, if that is one model and was scored."""
        starts = {row.start for row in self.rows}
        return self.base_of(self.rows[0]) if len(starts) == 1 else None

    @property
    def scored_rows(self) -> list[Row]:
        """The rows whose best trial has a quality, the best first."""
        return [row for row in self.rows if row.quality is not None]

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """The paths of the settings that any cell searched; those of methods come before those of training."""
        paths = dict.fromkeys(path for row in self.rows for path in row.cell.searched)
        # False sorts before True, and sorting is stable: within each part the paths keep their order.
        return tuple(sorted(paths, key=lambda path: path.startswith("train.")))

    @cached_property
    def metric_record(self) -> Record | None:
        """A record that states the group's metric: its name, unit and direction."""
        records = (record for row in self.all_rows for record in row.cell.records)
        return next((record for record in records if record.quality_name is not None), None)

    @property
    def higher_is_better(self) -> bool:
        return self.metric_record is None or self.metric_record.quality_higher_is_better is not False

    def is_better(self, quality: float, other: float) -> bool:
        return quality > other if self.higher_is_better else quality < other
