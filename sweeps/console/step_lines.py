"""A line for each step of a trial that runs in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from trainables.system.progress import report_progress
from trainables.training.pausing import Pausing

if TYPE_CHECKING:
    from trainables.training.activity import Activity
    from trainables.training.training_callback import Decision


class StepLines:
    """The control of a trial that nobody else controls (``training_callback.Control``): it prints what the trial does.

    ``steps``: those of the whole training.
    """

    def __init__(self, steps: int, log: Callable[[str], None]) -> None:
        self.steps, self.log = steps, log
        self._last: float | None = None  # when the last line was printed, or training began
        self._finishing = False

    loss_rungs: frozenset[int] = frozenset()
    passed = 0
    pausing = Pausing()

    def report(self, step: int, values: dict[str, float]) -> Decision:
        return "continue"

    def stop_reason(self) -> str | None:
        return None

    def interrupted(self) -> bool:
        return False

    def stopped_by_hand(self) -> bool:
        return False

    def may_save(self) -> bool:
        return True

    def saved(self) -> None:
        """Says nothing: a line for each step is enough."""

    def follow(self, activity: Activity) -> None:
        self._last = self._last or time.monotonic()
        if activity.phase == "finishing" and not self._finishing:
            self._finishing = True
            self.log(
                f"trained {activity.step} of {self.steps} steps; the model is saved, scored and measured"
            )

    def logged(self, step: int, values: dict[str, float]) -> None:
        report_progress("training steps", step, self.steps)
        if "train_loss" not in values:
            if "objective" in values:
                self.log(
                    f"step {step} of {self.steps}: {values['objective']:.4g} on the validation rows, which is the "
                    "objective: higher is better"
                )
            return
        now = time.monotonic()
        seconds, self._last = now - (self._last or now), now
        rate = f", learning rate {values['learning_rate']:.3g}" if "learning_rate" in values else ""
        self.log(f"step {step} of {self.steps}: loss {values['train_loss']:.4g}{rate}, {seconds:.2g} s")
