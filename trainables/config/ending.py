"""How trials of a search may end before their last step, and what is done for those that do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainables.config.base import Frozen

EarlyExitReason = Literal["diverged", "overfitted"]


class EndingRules(Frozen):
    """``score_stopped``: a trial that was stopped is scored on the test rows and its memory is measured, as if it had
    run to its end. ``early_exit``: for which reasons a trial ends by its own curve, once they have held for
    ``exit_reports`` reports in a row (``training.early_exit``).

    The defaults are those of a trial outside of a search.
    """

    score_stopped: bool = True
    early_exit: tuple[EarlyExitReason, ...] = ()
    exit_reports: int = Field(default=3, ge=2)
