"""One cell in a comparison: its best trial, its quality with interval, its memory, and its names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any, get_args

from reports import units
from reports.analysis.cells import Cell
from reports.statistics import intervals
from reports.statistics.intervals import SeedVariance
from reports.text import text
from trainables.results import Record, Status

BASE = "base"  # the method of the row of a model that is not trained
# Measures of likelihood; rewards have no such bound.
NEVER_NEGATIVE = frozenset({"loss", "bits_per_byte", "masked_loss"})


@dataclass(frozen=True)
class Row:
    """One cell in the comparison. ``name`` is unique in its group: its method, or its label where methods repeat."""

    name: str
    cell: Cell
    share_of_largest_peak: float | None
    on_front: bool
    # Between trainings of the group's cells that differ in their seed alone, where there are such.
    seed_variance: SeedVariance | None = None
    # Of a base: the stage or run whose test rows it was scored on, where the scores of several differ.
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
        if self.start is None:
            return text("the untuned base model")
        return text("{start} before further training", start=self.start)

    @property
    def peak(self) -> int | None:
        """The largest peak of loading, training and scoring."""
        return self.best.peak_bytes if self.best else None

    @property
    def quality(self) -> float | None:
        return self.cell.quality

    @property
    def quality_text(self) -> str:
        """The quality as it stands in a sentence."""
        return units.quality(self.quality, self.best.quality_unit if self.best else None)

    @property
    def seeds(self) -> int:
        """The number of trainings that the quality is the mean of."""
        return len(self.cell.judged_trials)

    @property
    def settings(self) -> dict[str, Any]:
        return self.cell.settings(self.best) if self.best else {}

    @property
    def counts(self) -> dict[str, int]:
        """How many of the cell's trials ended with each status, not counting winners that were trained again, nor
        trials that were added by hand.
        """
        outside = ("finalist", "added")
        counts = Counter(record.status for record in self.cell.records if record.role not in outside)
        return {status: counts[status] for status in get_args(Status)}

    @cached_property
    def own_interval(self) -> tuple[float, float] | None:
        """The quality's 95 % interval, over test rows and, where several were trained, over seeds.

        Of a cell that was named beforehand: ``Group.interval`` is for those that were chosen for their figure.
        ``None`` without the numbers for it, or where there are too few rows to give an end.
        """
        if self.cell.estimate is None:
            return None
        low, high = intervals.interval(self.cell.estimate, self.seed_variance)
        return self.possible((low, high)) if isfinite(low) and isfinite(high) else None

    def possible(self, interval: tuple[float, float]) -> tuple[float, float]:
        """An interval of the quality without what the measure can't be: a loss isn't negative."""
        name = self.best.quality_name if self.best is not None else None
        low, high = interval
        return (max(0.0, low), high) if name in NEVER_NEGATIVE else interval
