"""The searcher of the one Tuner that runs a whole sweep: it hands Ray Tune the trials of all cells.

Trials are identified by their config's id. The truth is in the run folder (records, journals, curves); a resumed sweep
does not need Ray Tune's own state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from sweeps.runs.mirror import RunMirror
from sweeps.search.remaining_work import RemainingWork
from sweeps.search.shutdown import Shutdown
from sweeps.search.study import tell_study
from sweeps.search.trial_queue import NextTrial, TrialQueue
from trainables import results
from trainables.trial.config import TrialConfig


class CellSearch(Searcher):
    """Proposes what ``queue`` says is next, and tells each cell's study how its trials went.

    ``mirror`` copies a trial's config to a run at a URL before the trial starts. ``idle`` is called when nothing can be
    proposed now.
    """

    def __init__(
        self,
        work: RemainingWork,
        queue: TrialQueue,
        mirror: RunMirror,
        shutdown: Shutdown,
        idle: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(metric="objective", mode="max")
        self.work, self.queue, self.mirror, self.shutdown, self.idle = work, queue, mirror, shutdown, idle
        self._trial_ids: dict[str, str] = {}  # Ray Tune's trial id -> our id
        self._configs: dict[str, TrialConfig] = {}  # by our id
        # Trials that ran once more because their results could not be written, or because they lost their slot.
        self._repeated: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        """The next trial; ``None`` has Tune ask again later, ``Searcher.FINISHED`` ends the sweep."""
        next_trial = None if self.shutdown.requested else self._next()
        if next_trial is None:
            self.idle()
            # While trials run, people may add some.
            goes_on = self.waits() or self.queue.admission.running
            return None if goes_on and not self.shutdown.requested else Searcher.FINISHED
        config = next_trial.config
        our_id = config.trial_id()
        # The order matters: the config exists before the mirror copies it, and resources are counted only for
        # a trial that does start.
        self.work.write_config(config)
        self._trial_ids[trial_id], self._configs[our_id] = our_id, config
        if not self.mirror.begin(our_id):
            return Searcher.FINISHED
        self.queue.admission.begin(our_id, next_trial.size)
        size = asdict(next_trial.size)
        passed = self.work.paused.passed.get(our_id, 0)
        return {"trial_id": our_id, "cell": config.cell, "role": config.role, "size": size, "passed": passed}

    def running(self) -> list[TrialConfig]:
        """The trials that were handed out and have not ended, in the order of their start."""
        return [self._configs[trial_id] for trial_id in list(self.queue.admission.running)]

    def waits(self) -> bool:
        """Whether something is left that can't start now: it is held back, or there is no capacity for it yet."""
        return self.work.any_held() or self.queue.any()

    def _next(self) -> NextTrial | None:
        """The next trial that nobody has stopped."""
        next_trial = self._next_queued()
        while next_trial is not None and self.work.stop_if_requested(next_trial.config):
            next_trial = self._next_queued()
        return next_trial

    def _next_queued(self) -> NextTrial | None:
        next_trial = self.queue.next()
        # What is released may end at once and so release more. Not while full: nothing could start, and
        # releasing reads every study.
        while next_trial is None and not self.queue.admission.full and self.work.release():
            next_trial = self.queue.next()
        return next_trial

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        our_id = self._trial_ids[trial_id]
        study = self.work.study_of(self._configs[our_id])
        if study is not None and not result.get("done") and result.get("objective") is not None:
            study.report(our_id, result["step"], result["objective"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        our_id = self._trial_ids[trial_id]
        # First of all, so that the capacity is free again however the rest goes.
        self.queue.admission.end(our_id)
        # Without its results no end is told: the trial runs once more, or the sweep ends, to be resumed.
        if not self._collected(our_id, (result or {}).get("lost")):
            return
        record = results.read_record(self.work.folder(our_id))
        # Tune gives up a trial at once whose slot died while it was idle.
        if record is None and error and self._runs_once_more(our_id):
            return
        if record is None and error:
            reason = "its slot died again and again while running it; sweep.log says how"
            record = self.work.record_failed(self._configs[our_id], reason)
        study = self.work.study_of(self._configs[our_id])
        if record is not None and record.status == "interrupted":
            self.work.pause(self._configs[our_id])
        elif study is not None and record is not None:
            tell_study(study, record)
        self.work.note_change(self._configs[our_id].cell)
        self.work.release()

    def _collected(self, our_id: str, lost: str | None) -> bool:
        """Whether a trial's results are in the driver's run folder now.

        ``lost`` is the record of a trial whose node could not write its results to the run; it runs once more.
        """
        if lost is not None and self._runs_once_more(our_id):
            return False
        return self.mirror.end(our_id, lost)

    def _runs_once_more(self, our_id: str) -> bool:
        """Puts a trial that ended without results in the queue again, unless it was there again already or the sweep
        ends; returns whether it did.
        """
        if self.shutdown.requested or our_id in self._repeated:
            return False
        self._repeated.add(our_id)
        self.work.waiting.append(self._configs[our_id])
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; the state of this one is in the run folder

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the journals are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing; see ``save``."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Does nothing: the journals are the state."""


class LoopCallback(Callback):
    """Calls ``task`` at every iteration of Tune's loop."""

    def __init__(self, task: Callable[[], object]) -> None:
        self.task = task

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.task()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; this one has nothing to keep
