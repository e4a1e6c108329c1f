"""Watching a trial train: curve, clock, checkpoints, the search's decisions, and numbers gone wrong."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

from transformers import TrainerCallback

from trainables.storage import files
from trainables.training.checkpoints import COMPLETE, contents, newest
from trainables.training.worker_group import first_rank

AUTOSAVE_SECONDS = 300  # of training between checkpoints, where the config doesn't say how many steps
LAST_SAVE_SECONDS = 180  # a trial that trained this long saves at its end too: scoring it can take a while
Decision = Literal["continue", "stop", "interrupt"]


class NotFinite(ArithmeticError):  # noqa: N818
    """The loss or the gradient is NaN or infinite."""


def finite(name: str, value: float) -> float:
    """The value itself; raises :class:`NotFinite` with the name for NaN and infinity."""
    if not math.isfinite(value):
        raise NotFinite(f"{name} is {value}")
    return value


class Control(Protocol):
    """Who a trial answers to: the search's slot, or nobody."""

    def report(self, step: int, values: dict[str, float]) -> Decision:
        """Tells the validation result at ``step`` and returns what to do."""

    def interrupted(self) -> bool:
        """Whether to save and leave at the next step."""

    def saved(self) -> None:
        """Tells that there is a new checkpoint, whole: the trial won't begin before it again."""


class Alone:
    """A trial that nobody steers."""

    def report(self, step: int, values: dict[str, float]) -> Decision:
        return "continue"

    def interrupted(self) -> bool:
        return False

    def saved(self) -> None:
        pass


@dataclass
class Tally:
    """What has been done so far; saved with every checkpoint, so a resumed trial goes on counting."""

    step: int = 0
    tokens: int = 0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    values: dict[str, float] = field(default_factory=dict)  # the last validation result
    stopped: bool = False  # by the search: there is nothing left but to score it


def last_checkpoint(
    trial_folder: Path, is_ours: Callable[[Path], bool] = lambda _: True
) -> tuple[Path, Tally] | None:
    """The newest complete checkpoint of a trial that these workers can read, and what had been done by then."""
    checkpoint = newest(trial_folder, is_ours)
    if checkpoint is None:
        return None
    marked = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    return checkpoint, Tally(**{name: value for name, value in marked.items() if name != "files"})


class Watch(TrainerCallback):
    """Sits in the trainer's loop. ``evaluate`` gives the validation result; it is asked at ``evaluate_at``.
    ``tokens_after`` says how many tokens so many steps train on.

    Raises :class:`NotFinite` out of the training loop when the loss or the gradient is no longer a number.
    """

    def __init__(
        self,
        folder: Path,
        tally: Tally,
        control: Control,
        evaluate: Callable[[], dict[str, float]],
        evaluate_at: frozenset[int],
        on_first_step: Callable[[], None],
        tokens_after: Callable[[int], int],
        autosave: bool,
        logs: tuple[str, ...] = (),
    ) -> None:
        self.folder, self.tally, self.control = folder, tally, control
        self.evaluate, self.evaluate_at, self.on_first_step = evaluate, evaluate_at, on_first_step
        self.tokens_after = tokens_after
        self.autosave, self._saved_at = autosave, tally.train_seconds
        self.logs = logs  # names the stage's trainer logs under, which the curve has, too
        self.decision: Decision = "continue"
        self._clock: float | None = None
        self._curve = _open_curve(folder / "curve.jsonl") if first_rank() else None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._clock is None:
            self.on_first_step()
            self._clock = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        logs = logs or {}
        for name in ("loss", "grad_norm"):
            if name in logs and not math.isfinite(logs[name]):
                raise NotFinite(f"{name} is {logs[name]} at step {state.global_step}")
        named = {"loss": "train_loss", "grad_norm": "grad_norm", "learning_rate": "learning_rate"}
        named |= {name: name for name in self.logs}
        self.write(state.global_step, {new: logs[old] for old, new in named.items() if old in logs})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._stop_clock()
        self.tally.step = state.global_step
        self.tally.tokens = self.tokens_after(state.global_step)
        if state.global_step in self.evaluate_at:
            self.decision = self._evaluated(state.global_step)
        if self.decision == "continue" and _any_rank(self.control.interrupted()):
            self.decision = "interrupt"
        self.tally.stopped = self.decision == "stop"
        if self.decision != "continue":
            control.should_training_stop = True
        control.should_save = control.should_save or self._wants_save(
            last=state.global_step >= state.max_steps
        )
        self._clock = time.perf_counter()

    def _wants_save(self, last: bool) -> bool:
        if self.decision == "interrupt":
            return True
        since = self.tally.train_seconds - self._saved_at
        due = since > AUTOSAVE_SECONDS or (
            (last or self.decision == "stop") and self.tally.train_seconds > LAST_SAVE_SECONDS
        )
        return self.autosave and _any_rank(due)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        _wait_for_all()  # each has files of its own in it
        if first_rank():
            mark_complete(self.folder / f"checkpoint-{state.global_step}", self.tally)
            self.control.saved()
        self._saved_at = self.tally.train_seconds
        self._clock = time.perf_counter()  # saving is not training

    def _evaluated(self, step: int) -> Decision:
        started = time.perf_counter()
        values = self.evaluate()
        self.tally.eval_seconds += time.perf_counter() - started
        if not math.isfinite(values["objective"]):
            raise NotFinite(f"the validation objective is {values['objective']} at step {step}")
        self.tally.values = values
        self.write(step, values)
        return self.control.report(step, values)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds points to ``curve.jsonl``, a line each, at once visible to whoever reads along."""
        if self._curve is None:
            return
        for name, value in values.items():
            if math.isfinite(value):
                self._curve.write(json.dumps({"step": step, "name": name, "value": float(value)}) + "\n")
        self._curve.flush()

    def close(self) -> None:
        if self._curve is not None:
            self._curve.close()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self.tally.train_seconds += time.perf_counter() - self._clock


def _open_curve(path: Path) -> TextIO:
    """The curve, to be added to; a last line that a killed process cut short is ended first."""
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    opened = path.open("a", encoding="utf-8")
    if torn:
        opened.write("\n")
    return opened


def mark_complete(checkpoint: Path, tally: Tally) -> None:
    """Syncs a checkpoint's files and then writes its completion marker."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    files.write_json(checkpoint / COMPLETE, {**asdict(tally), "files": contents(checkpoint)})


def _wait_for_all() -> None:
    _any_rank(False)


def _any_rank(flag: bool) -> bool:
    """Whether the flag is up on any worker; every worker must leave the loop at the same step."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return flag
    votes = torch.tensor([float(flag)], device="cuda" if torch.cuda.is_available() else "cpu")
    torch.distributed.all_reduce(votes, op=torch.distributed.ReduceOp.MAX)
    return bool(votes.item())
