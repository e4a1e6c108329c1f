"""How a trial in a worker is controlled: through its slot's hub and the sweep's board, both actors."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import ray

from trainables.training.activity import Activity
from trainables.training.pausing import Pausing

PAUSING = Pausing()


class SweepGone(BaseException):
    """The sweep's board or the slot's hub is dead. No failure of the trial, so it isn't caught as one."""


def actor_result(answer: Any) -> Any:
    """The result of a call of one of the sweep's actors. Raises :class:`SweepGone` when the actor is dead."""
    try:
        return ray.get(answer)
    except ray.exceptions.RayActorError as error:
        raise SweepGone from error


class HubControl:
    """The search's decisions on a trial, asked through the slot's hub.

    The search decides only at the steps ``report_at``, by validation, and ``loss_rungs``, by training loss. Other
    validation results are in the curve alone, and cost the driver nothing. ``kept_here``: whether a checkpoint is safe
    where it is written; at a URL it has to be uploaded. ``pausing``: whether a trial that pauses saves itself.
    """

    def __init__(
        self,
        hub: Any,
        board: Any,
        trial_id: str,
        report_at: frozenset[int] = frozenset(),
        node: str = "",
        kept_here: bool = True,
        loss_rungs: frozenset[int] = frozenset(),
        pausing: Pausing = PAUSING,
        passed: int = 0,
    ) -> None:
        self.hub, self.board, self.trial_id, self.node = hub, board, trial_id, node
        self.report_at, self.loss_rungs, self.pausing = report_at | loss_rungs, loss_rungs, pausing
        self.kept_here, self.passed = kept_here, passed
        self.paused = False
        self._stopped_by_hand = False
        self._safe_step: int | None = None  # of the checkpoint at the run's URL that the trial began at

    def report(self, step: int, values: dict[str, float]) -> Any:
        if step not in self.report_at:
            return "continue"
        # One worker reports, and all get the same decision.
        if int(os.environ.get("RANK", "0")) == 0:
            event = {"kind": "report", "trial_id": self.trial_id, "step": step, **values}
            actor_result(self.hub.report.remote(event))
        decision = actor_result(self.hub.answer.remote(self.trial_id, step))
        self.paused = decision == "pause"
        return decision

    def stop_reason(self) -> str | None:
        reason: str | None = actor_result(self.board.stop_reason.remote(self.trial_id))
        return reason

    def alive(self) -> None:
        """Gives a sign of life."""
        # The call isn't waited for, so training doesn't depend on how fast the hub is.
        self.hub.alive.remote()

    def may_save(self) -> bool:
        return bool(actor_result(self.board.may_save.remote(self.trial_id)))

    def saved(self) -> None:
        self.hub.checkpoint_saved.remote()

    def follow(self, activity: Activity) -> None:
        if not self.kept_here:
            self._safe_step = activity.saved_step if self._safe_step is None else self._safe_step
            activity = replace(activity, saved_step=self._safe_step)
        self.board.follow.remote(self.trial_id, activity)

    def logged(self, step: int, values: dict[str, float]) -> None:
        """Tells nobody: the sweep reads the curve itself."""

    def interrupted(self) -> bool:
        self.alive()  # the trainer asks at every step
        # Both in one call, as it is made at every step.
        to_save, self._stopped_by_hand = actor_result(self.board.requests.remote(self.trial_id, self.node))
        return bool(to_save)

    def stopped_by_hand(self) -> bool:
        return self._stopped_by_hand
