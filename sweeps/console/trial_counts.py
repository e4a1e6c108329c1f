"""How many trials a plan has, in the words of ``plan`` and ``run``; untrained models are not counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.system.wording import counted

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan


def trial_counts(plan: Plan) -> str:
    """``12 trials in 2 cells (6 of the search, then 6 finalists), and 1 starting model to score without training``."""
    trials = f"{counted(plan.trials + plan.finalists, 'trial')} in {counted(len(plan.cells), 'cell')}"
    if plan.finalists:
        trials += f" ({plan.trials} of the search, then {counted(plan.finalists, 'finalist')})"
    models = f", and {counted(len(plan.bases), 'starting model')} to score without training"
    return trials + (models if plan.bases else "")
