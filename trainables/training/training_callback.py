"""A trial's callback in the training loop: curve, clock, checkpoints, the search's decisions, non-finite numbers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, TextIO

from transformers import TrainerCallback

from trainables.results import TRAINING_OBJECTIVE
from trainables.storage import files
from trainables.system.background import call_periodically
from trainables.training.activity import Activity, Phase, checkpoint_bytes
from trainables.training.best_validation import BestValidation
from trainables.training.checkpoints import COMPLETE, Metrics, Progress, mark_complete, remove_superseded
from trainables.training.early_exit import EarlyExit
from trainables.training.loss_window import LossWindow
from trainables.training.pausing import Pausing
from trainables.training.worker_group import first_workers, is_first_worker, mean_over_workers

AUTOSAVE_SECONDS = 300  # of training between checkpoints, if the config has no save_steps
LAST_SAVE_SECONDS = 180  # of training, after which a trial also saves at its end: scoring may take long
# Steps that fp16's loss scaling may leave out in a row: its scale begins at 2^16 and is halved by each of them.
OVERFLOWS = 24
WRITTEN_SECONDS = 0.5  # between looks at how much of a checkpoint is written
# To pause is to end for now, and to go on later if the trial is among the best of its cell. To finish is to be done.
Decision = Literal["continue", "stop", "pause", "interrupt", "finish"]


class NotFinite(ArithmeticError):  # noqa: N818
    """The loss or the gradient is NaN or infinite."""


def require_finite(name: str, value: float) -> float:
    """The value itself. Raises :class:`NotFinite` with ``name`` for NaN and infinity."""
    if not math.isfinite(value):
        raise NotFinite(f"{name} is {value}")
    return value


class Control(Protocol):
    """What controls a trial from outside: the search's slot, or :class:`NoControl`.

    ``loss_rungs``: the steps at which it receives the training loss, but for those up to ``passed``, after which the
    trial has been compared; it may repeat them. ``pausing``: whether a trial that pauses saves itself.
    """

    @property
    def loss_rungs(self) -> frozenset[int]: ...
    @property
    def passed(self) -> int: ...
    @property
    def pausing(self) -> Pausing: ...

    def report(self, step: int, values: dict[str, float]) -> Decision:
        """Receives the validation result, or minus the training loss, at ``step`` and returns what to do."""

    def stop_reason(self) -> str | None:
        """Why the search stops the trial, in words; ``None``: it is behind the others of its cell."""

    def interrupted(self) -> bool:
        """Whether the trial has to save and stop at the next step."""

    def stopped_by_hand(self) -> bool:
        """Whether a person has stopped the trial for good, as far as was known at the last question whether it is
        interrupted.
        """

    def may_save(self) -> bool:
        """Whether a checkpoint may be begun: where the time until the end of all processes is known, it has to fit."""

    def saved(self) -> None:
        """Called when a new checkpoint is complete, from which the trial would resume."""

    def follow(self, activity: Activity) -> None:
        """Receives what the trial is doing: at each step, and while a checkpoint is written."""

    def logged(self, step: int, values: dict[str, float]) -> None:
        """Receives what is added to the curve at ``step``."""


class NoControl:
    """A trial that runs to its end."""

    loss_rungs: frozenset[int] = frozenset()
    passed = 0
    pausing = Pausing()
    paused = False

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
        pass

    def follow(self, activity: Activity) -> None:
        pass

    def logged(self, step: int, values: dict[str, float]) -> None:
        pass


class TrialCallback(TrainerCallback):
    """Evaluates, saves and obeys the search, step by step.

    ``resume_loss``: takes the sum of the losses that were not logged before a checkpoint, and how many they are.
    ``evaluate``: returns the validation result, at the steps in ``evaluate_at``. ``tokens_after``: the tokens that a
    number of steps train on. ``autosave``: whether to save from time to time. ``logs``: what the curve has of the
    stage's trainer's logs, too, with the trainer's names. ``unlogged_loss``: returns the sum of the losses since the
    last log. ``early_exit``: when the trial ends by its own curve; ``None``: never. ``saves_stopped``: whether a trial
    that is stopped has more to do, which would be lost without a checkpoint. ``best``: its best validation, where that
    decides on something. ``save_steps``: at multiples of which checkpoints stay, beside that of the best validation.

    Raises :class:`NotFinite` out of the training loop when the loss or the gradient norm is NaN or infinite. Of fp16,
    whose loss scaling leaves out steps with such gradients, only when it finds no scale.
    """

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        control: Control,
        evaluate: Callable[[], dict[str, float]],
        evaluate_at: frozenset[int],
        on_first_step: Callable[[], None],
        tokens_after: Callable[[int], int],
        autosave: bool,
        resume_loss: Callable[[float, int], None] = lambda loss, steps: None,
        logs: Mapping[str, str] = MappingProxyType({}),
        early_exit: EarlyExit | None = None,
        unlogged_loss: Callable[[], float] = lambda: math.nan,
        unlogged_metrics: Callable[[], Metrics] = dict,
        resume_metrics: Callable[[Metrics], None] = lambda metrics: None,
        saves_stopped: bool = True,
        best: BestValidation | None = None,
        save_steps: int | None = None,
    ) -> None:
        self.folder, self.progress, self.control = folder, progress, control
        self.evaluate, self.evaluate_at, self.on_first_step = evaluate, evaluate_at, on_first_step
        self.tokens_after, self.resume_loss = tokens_after, resume_loss
        self._logged_step = progress.step - progress.unlogged_steps
        self.autosave, self._saved_at = autosave, progress.train_seconds
        self.logs, self.early_exit = logs, early_exit
        self.unlogged_loss, self._unlogged_before = unlogged_loss, 0.0
        self.unlogged_metrics, self.resume_metrics = unlogged_metrics, resume_metrics
        self.saves_stopped, self.best, self.save_steps = saves_stopped, best, save_steps
        self._window = LossWindow(control.loss_rungs, progress)
        self._overflows = 0  # steps in a row
        self.decision: Decision = "continue"
        # A trial begins at a checkpoint, or at step 0.
        self.activity = Activity("training", progress.step, progress.step)
        self._saving = ExitStack()  # what ends once the checkpoint that is being written is complete
        self._clock: float | None = None
        self._curve = _open_curve(folder / "curve.jsonl") if is_first_worker() else None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._clock is None:
            self.on_first_step()
            self._clock = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        logs = logs or {}
        for name in ("loss", "grad_norm"):
            if name in logs and not math.isfinite(logs[name]) and not self._left_out(name, args):
                raise NotFinite(f"{name} is {logs[name]} at step {state.global_step}")
        if math.isfinite(logs.get("grad_norm", math.inf)):
            self._overflows = 0
        named = {
            "train_loss": "loss",
            "grad_norm": "grad_norm",
            "learning_rate": "learning_rate",
            **self.logs,
        }
        if "loss" not in logs:  # the summary at the end of training, also of a part of it
            return
        self.write(state.global_step, {new: logs[old] for new, old in named.items() if old in logs})
        self._unlogged_before, self._logged_step = 0.0, state.global_step
        if self.early_exit is not None:
            self.early_exit.add_loss(state.global_step, logs["loss"])

    def _left_out(self, name: str, args: Any) -> bool:
        """Whether a number that isn't finite is that of a step which fp16's loss scaling leaves out, to try a smaller
        scale. That is so for the gradient, and for some steps in a row.
        """
        if name != "grad_norm" or not args.fp16:
            return False
        self._overflows += 1
        return self._overflows <= OVERFLOWS

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._unlogged_before = self.progress.unlogged_loss
        self.resume_loss(self.progress.unlogged_loss, self.progress.unlogged_steps)
        self.resume_metrics(self.progress.unlogged_metrics)
        self._follow("training")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._follow("finishing")

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **kwargs: Any
    ) -> None:
        seconds = self._stop_clock()
        self.progress.step = state.global_step
        self.progress.tokens = self.tokens_after(state.global_step)
        if not self.activity.checkpoint_bytes:  # the optimizer has its state from the first step on
            self.activity = replace(self.activity, checkpoint_bytes=checkpoint_bytes(model, optimizer))
        # Before the validation, which may take long.
        self._follow(
            "training",
            step=state.global_step,
            unsaved_seconds=self.progress.train_seconds - self._saved_at,
            step_seconds=max(seconds, self.activity.step_seconds),
        )
        last = state.global_step >= state.max_steps
        if state.global_step in self.evaluate_at:
            self.decision = self._evaluate_and_report(state.global_step, last)
        if not self._window.ends_before(state.global_step):
            self._report_loss(state.global_step)
        if self.decision == "continue" and not last:
            self._exit_early(state.global_step)
        # A collective operation: all workers get here with the same decision.
        if self.decision == "continue":
            self._obey_requests(state.global_step, last)
        # Before the save, whose marker holds the progress.
        self.progress.stopped = self.decision == "stop"
        self.progress.finished = self.decision == "finish"
        keeps_these = self.decision == "continue" and not last and self._is_best(state.global_step)
        control.should_save = control.should_save or keeps_these or self._wants_save(last)
        if control.should_save and _any_rank(not self.control.may_save()):
            control.should_save = False
            # The best weights would be lost once training goes on; resumed, the trial comes here again.
            self.decision = "interrupt" if keeps_these else self.decision
        if self.decision != "continue":
            control.should_training_stop = True
        # What a trial that ends has not logged yet: its last steps, where logging_steps don't divide their number.
        control.should_log = control.should_log or last or self.decision in ("stop", "finish")
        if control.should_save and is_first_worker():
            self._saving.enter_context(self._following_the_save(state.global_step))
        # The clock goes on from here: evaluating is not training.
        self._clock = time.perf_counter()

    def _wants_save(self, last: bool) -> bool:
        if self.decision == "interrupt":
            return True
        if self.decision == "pause":
            unsaved = self.progress.train_seconds - self._saved_at
            return _any_rank(self.control.pausing.saves(self.activity.checkpoint_bytes, unsaved))
        since = self.progress.train_seconds - self._saved_at
        due = since > AUTOSAVE_SECONDS or (
            (last or self.decision == "finish" or (self.decision == "stop" and self.saves_stopped))
            and self.progress.train_seconds > LAST_SAVE_SECONDS
        )
        # Clocks differ, and all workers write a checkpoint together: one that is due decides.
        return self.autosave and _any_rank(due)

    @contextmanager
    def _following_the_save(self, step: int) -> Iterator[None]:
        """Tells how much of a checkpoint is written, and at the end how fast that was."""
        folder, started = self.folder / f"checkpoint-{step}", time.perf_counter()

        def written() -> None:
            # Files come and go while it is counted.
            with suppress(OSError):
                self._follow("saving", written_bytes=files.folder_bytes(folder))

        self._follow("saving", written_bytes=0)
        with call_periodically(written, WRITTEN_SECONDS):
            yield
        if (folder / COMPLETE).exists():  # else an error has ended the writing
            size = files.folder_bytes(folder)
            speed = size / (time.perf_counter() - started)
            saved = {"saved_step": step, "unsaved_seconds": 0.0, "written_bytes": 0}
            self._follow("training", **saved, checkpoint_bytes=size, bytes_per_second=speed)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._keep_losses(state.global_step)
        _any_rank(False)  # waits until all workers have written their files of the checkpoint
        if is_first_worker():
            mark_complete(self.folder / f"checkpoint-{state.global_step}", self.progress)
            self._saving.close()
            self.control.saved()
            if self.best is not None and self.best.keeps_weights:
                kept = self.progress.kept_step
                remove_superseded(self.folder, state.global_step, kept, self.save_steps)
        self._saved_at = self.progress.train_seconds
        # Asked again, as writing takes long: another step would have to be saved, too.
        if self.decision == "continue" and _any_rank(self.control.interrupted()):
            self.decision = "interrupt"
            control.should_training_stop = True
        self._clock = time.perf_counter()  # saving is not training

    def _keep_losses(self, step: int) -> None:
        """Puts the losses that are still to be compared and logged in the progress."""
        self._window.keep()
        progress = self.progress
        progress.unlogged_loss = mean_over_workers(float(self.unlogged_loss()))
        progress.unlogged_steps = step - self._logged_step
        found, wanted = self.unlogged_metrics(), ("grad_norm", *self.logs.values())
        # All workers have the same names in the same order.
        progress.unlogged_metrics = {
            name: (mean_over_workers(found[name][0]), found[name][1]) for name in wanted if name in found
        }
        for loss in (progress.loss_sum, progress.unlogged_loss):
            require_finite("the training loss", loss)

    def _exit_early(self, step: int) -> None:
        """Ends the trial where its own curve says so. The losses are means over all workers, so all end together."""
        reason = self.early_exit.reason if self.early_exit is not None else None
        if reason is not None:
            self._stop_here(step, reason)

    def _stop_here(self, step: int, reason: str) -> None:
        """Ends the trial for good, with its objective at this step."""
        # Without such steps nothing is held out.
        if self.evaluate_at and step not in self.evaluate_at:
            self._evaluate(step)
        self.decision, self.progress.stop_reason = "stop", reason

    def _obey_requests(self, step: int, last: bool) -> None:
        """Ends the trial where a person has stopped it, or for now where the sweep is interrupted."""
        interrupted = self.control.interrupted()  # asked first: the answer tells both
        # One question to all workers: they have heard of a request at different steps.
        asked = _highest(2.0 if self.control.stopped_by_hand() else float(interrupted))
        if asked > 1 and not last:
            self.progress.stopped_by_hand = True
            self._stop_here(step, f"stopped by hand at step {step}")
        elif asked:
            self.decision = "interrupt"

    def _is_best(self, step: int) -> bool:
        """Whether the weights of this step are the best so far, and have to be kept."""
        return self.best is not None and self.best.is_new(step)

    def _evaluate_and_report(self, step: int, last: bool) -> Decision:
        values = self._evaluate(step)
        if self.best is not None:
            # The first worker's: all have to come to the same decision, and theirs differ by rounding.
            self.best.add(step, first_workers(values["objective"]))
            # Asked before the search is: a trial that is done is not compared any more.
            if not last and step in self.best.counted_steps and (reason := self.best.end_reason) is not None:
                self.progress.stop_reason = reason
                return "finish"
        return self._answer_to(step, values) if step not in self.control.loss_rungs else "continue"

    def _report_loss(self, step: int) -> None:
        """Counts the loss of the last step; reports the mean if trials are compared at this step."""
        unlogged = self.unlogged_loss()
        loss, self._unlogged_before = unlogged - self._unlogged_before, unlogged
        mean = self._window.add(step, loss)
        if mean is None or step <= self.control.passed:
            return
        if not math.isfinite(mean):
            raise NotFinite(f"the training loss is {mean} on average up to step {step}")
        values = {"objective": -mean}
        if step not in self.evaluate_at:  # else they are those of the validation rows
            self.progress.values, self.progress.compared_by = values, "training"
        self.write(step, {TRAINING_OBJECTIVE: -mean})
        if self.decision == "continue":
            self.decision = self._answer_to(step, values)

    def _answer_to(self, step: int, values: dict[str, float]) -> Decision:
        decision = self.control.report(step, values)
        if decision == "stop":
            self.progress.stop_reason = self.control.stop_reason()
        return decision

    def _evaluate(self, step: int) -> dict[str, float]:
        started = time.perf_counter()
        values = self.evaluate()
        self.progress.eval_seconds += time.perf_counter() - started
        if not math.isfinite(values["objective"]):
            raise NotFinite(f"the validation objective is {values['objective']} at step {step}")
        self.progress.values, self.progress.compared_by = values, "validation"
        self.write(step, values)
        if self.early_exit is not None:
            self.early_exit.add_objective(step, values["objective"])
        return values

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends points to ``curve.jsonl``, one per line, flushed for readers of a running trial."""
        if self._curve is None:
            return
        for name, value in values.items():
            # JSON has no NaN and no infinity; numbers that must be finite were checked before.
            if math.isfinite(value):
                self._curve.write(json.dumps({"step": step, "name": name, "value": float(value)}) + "\n")
        self._curve.flush()
        self.control.logged(step, values)

    def close(self) -> None:
        self._saving.close()  # an error may have ended the writing of a checkpoint
        if self._curve is not None:
            self._curve.close()

    def _follow(self, phase: Phase, **changes: Any) -> None:
        self.activity = replace(self.activity, phase=phase, **changes)
        if is_first_worker():
            self.control.follow(self.activity)

    def _stop_clock(self) -> float:
        """Counts the seconds since the clock began as training; returns them."""
        seconds = time.perf_counter() - self._clock if self._clock is not None else 0.0
        self.progress.train_seconds += seconds
        return seconds


def _open_curve(path: Path) -> TextIO:
    """Opens the curve for appending; a last line that a killed process left incomplete is ended first."""
    incomplete = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    file = files.open_to_append(path)
    if incomplete:
        file.write("\n")
    return file


def _any_rank(flag: bool) -> bool:
    """Whether the flag is set on any worker: all have to leave the loop at the same step."""
    return bool(_highest(float(flag)))


def _highest(value: float) -> float:
    """The highest of all workers' values."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    votes = torch.tensor([value], device="cuda" if torch.cuda.is_available() else "cpu")
    torch.distributed.all_reduce(votes, op=torch.distributed.ReduceOp.MAX)
    return float(votes.item())
