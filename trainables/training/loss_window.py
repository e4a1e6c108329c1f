"""The training loss that trials of a cell are compared by: free, and paired, as all see the same batches in turn.

While rows are seen for the first time, the loss of a step, computed before its update, is a held-out loss. Its mean
over the later half of the steps up to a comparison says what the trial has learned by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trainables.training.checkpoints import Progress
from trainables.training.worker_group import mean_over_workers


class LossWindow:
    """The mean loss of the steps in the later half before each of ``compared_at`` steps.

    A loss may be a number on a GPU, which is read at a comparison alone; it is this worker's, and the mean is that over
    all workers. ``keep`` puts what has been added up in ``progress``, so that a resumed trial gives the same mean.

    >>> window = LossWindow([4], Progress())
    >>> [window.add(step, loss) for step, loss in ((1, 9.0), (2, 8.0), (3, 3.0), (4, 2.0), (5, 1.0))]
    [None, None, None, 2.5, None]
    """

    def __init__(self, compared_at: Iterable[int], progress: Progress) -> None:
        self._compared_at, self.progress = sorted(compared_at), progress
        self._sum: Any = progress.loss_sum

    def ends_before(self, step: int) -> bool:
        """Whether no comparison is left from that step on."""
        return not self._compared_at or step > self._compared_at[-1]

    def _holds(self, step: int) -> bool:
        """Whether the loss of that step counts for the next comparison."""
        following = next((other for other in self._compared_at if other >= step), None)
        return following is not None and step > following // 2

    def add(self, step: int, loss: Any) -> float | None:
        """Takes a step's loss, and returns the mean if the step is one of ``compared_at``: all workers call it."""
        progress = self.progress
        if not self._holds(step):
            return None
        self._sum, progress.loss_steps = self._sum + loss, progress.loss_steps + 1
        if step not in self._compared_at:
            return None
        mean = mean_over_workers(float(self._sum)) / progress.loss_steps
        self._sum, progress.loss_sum, progress.loss_steps = 0.0, 0.0, 0
        return mean

    def keep(self) -> None:
        """Before the progress is saved: all workers call it."""
        self.progress.loss_sum = mean_over_workers(float(self._sum))
