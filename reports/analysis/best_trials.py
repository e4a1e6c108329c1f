"""The trials that answer for a whole run."""

from __future__ import annotations

from pathlib import Path

from reports.analysis.answer import recommend
from reports.analysis.comparison import compare
from trainables import results
from trainables.results import Record


def chosen(run: Path) -> list[Record]:
    """The best trial of the cell that the report says to use, for each of its answers, the last stage's first."""
    rows = [recommend(group) for group in compare([results.gathered(run)])]
    return [row.best for row in reversed(rows) if row is not None and row.best is not None]
