"""The trials that a run's name stands for: those that its report recommends."""

from __future__ import annotations

from pathlib import Path

from reports.analysis.comparison import compare
from reports.analysis.recommendation.answer import recommend
from trainables import results
from trainables.results import Record


def recommended_trials(run: Path) -> list[Record]:
    """The best trial of the recommended cell, one for each answer of the report; the last stage's comes first.

    Where nothing was held out, nothing is recommended, and the one trial that there is stands for its stage.
    """
    groups = compare([results.gather_run(run)])
    rows = [[row] if (row := recommend(group)) is not None else group.rows for group in reversed(groups)]
    return [best for some in rows if (best := next((row.best for row in some if row.best), None)) is not None]
