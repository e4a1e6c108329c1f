"""The trials that a run's name stands for: those that its report recommends."""

from __future__ import annotations

from pathlib import Path

from reports.analysis.answer import recommend
from reports.analysis.comparison import compare
from trainables import results
from trainables.results import Record


def recommended_trials(run: Path) -> list[Record]:
    """The best trial of the recommended cell, one for each answer of the report; the last stage's comes first."""
    rows = [recommend(group) for group in compare([results.gather_run(run)])]
    return [row.best for row in reversed(rows) if row is not None and row.best is not None]
