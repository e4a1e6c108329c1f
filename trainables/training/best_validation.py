"""The best of a trial's validations, and whether there has been no better one for too long.

What is known of them is in the trial's progress, so that a trial that resumes from a checkpoint decides as one that was
not interrupted. Only validations at the trial's own steps count, and not those that a search asks for besides: which
weights are kept must not depend on how trials are compared.
"""

from __future__ import annotations

from trainables.config.train import TrainConfig
from trainables.training.checkpoints import Progress


class BestValidation:
    """Takes the objectives of a trial of ``steps`` steps, higher is better; of equal ones the first is the best.

    >>> train = TrainConfig(steps=9, learning_rate=1e-3, eval_steps=1, early_stopping={"patience": 2}, keep="best")
    >>> best = BestValidation(train, 9, Progress())
    >>> for step, objective in enumerate([-2.0, -1.0, -1.5, -1.25], start=1):
    ...     best.add(step, objective)
    >>> best.progress.best_step, best.end_reason
    (2, 'no better validation for 2 validations in a row (train.early_stopping), the best was at step 2')
    """

    def __init__(self, train: TrainConfig, steps: int, progress: Progress) -> None:
        self.early_stopping, self.progress = train.early_stopping, progress
        self.keeps_weights = train.keep == "best"
        self.counted_steps = train.validation_steps(steps)

    def add(self, step: int, objective: float) -> None:
        """Counts the validation at ``step``, if it is one of the trial's own."""
        if step not in self.counted_steps:
            return
        progress = self.progress
        if progress.best_objective is None or objective > progress.best_objective:
            progress.best_step, progress.best_objective = step, objective
            progress.kept_step = step if self.keeps_weights else 0
        least = self.early_stopping.min_delta if self.early_stopping is not None else 0.0
        if progress.better_objective is None or objective > progress.better_objective + least:
            progress.better_objective, progress.validations_since = objective, 0
        else:
            progress.validations_since += 1

    def is_new(self, step: int) -> bool:
        """Whether the weights after ``step`` are the best so far and have to be kept."""
        return self.keeps_weights and self.progress.best_step == step

    @property
    def end_reason(self) -> str | None:
        """Why the trial ends now, in words; ``None`` while it goes on."""
        rules, since = self.early_stopping, self.progress.validations_since
        if rules is None or since < rules.patience:
            return None
        more = f"better by more than {rules.min_delta:g}" if rules.min_delta else ""
        if since > 1:
            found = (
                f"no {f'validation {more}' if more else 'better validation'} for {since} validations in a row"
            )
        else:
            found = f"the last validation was {f'not {more}' if more else 'no better'}"
        return f"{found} (train.early_stopping), the best was at step {self.progress.best_step}"
