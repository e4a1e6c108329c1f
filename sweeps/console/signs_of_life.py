"""What the trials of a sweep are doing, in words: lines while they run, and a file that ``paretune status`` reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainables.system.background import Throttle
from trainables.system.wording import clock

LINE_SECONDS = 60.0  # between lines about a trial in which nothing changes but its step
TAIL_BYTES = 8192  # of a curve, which hold its last losses
Doing = Literal["starting", "loading", "training", "saving", "scoring"]


@dataclass(frozen=True)
class Sign:
    """What a running trial is doing. ``steps``: all of its training. ``needs``: the resources that it holds."""

    cell: str
    trial_id: str
    doing: Doing
    step: int = 0
    steps: int | None = None
    loss: float | None = None  # at its last logged step, nats per token in most stages
    step_seconds: float | None = None
    needs: str = ""
    untrained: bool = False  # a model that is scored without training

    @property
    def state(self) -> str:
        """What is announced at once when it changes; a checkpoint that is written is no change."""
        return "training" if self.doing == "saving" else self.doing

    @property
    def words(self) -> str:
        """``step 12 of 60, loss 1.234, 0.53 s a step, about 25 s left in training``."""
        if self.doing == "starting":
            return f"waits for its workers to start, {self.needs}"
        if self.doing == "loading":
            return "scores the untrained model" if self.untrained else "loads its model and rows"
        if self.doing == "scoring":
            return f"has trained {self.step} steps; its model is saved and scored"
        return ", ".join([self._place(), *self._details()])

    def _place(self) -> str:
        return f"step {self.step} of {self.steps}" if self.steps else f"step {self.step}"

    def _details(self) -> list[str]:
        if self.doing == "saving":
            return ["writes a checkpoint"]
        details = [f"loss {self.loss:.4g}"] if self.loss is not None else []
        if self.step_seconds:
            details.append(f"{self.step_seconds:.2g} s a step")
            if self.steps:
                details.append(
                    f"about {clock((self.steps - self.step) * self.step_seconds)} left in training"
                )
        return details

    def __str__(self) -> str:
        return f"{self.cell} {self.trial_id} {self.words}"


class DueSigns:
    """Which signs are worth a line: those of trials that began to do something else, and each trial once a minute."""

    def __init__(self, seconds: float = LINE_SECONDS) -> None:
        self.seconds = seconds
        self._states: dict[str, str] = {}
        self._throttles: dict[str, Throttle] = {}

    def due(self, signs: Sequence[Sign]) -> list[Sign]:
        found = []
        for sign in signs:
            changed = self._states.get(sign.trial_id) != sign.state
            self._states[sign.trial_id] = sign.state
            if changed:
                # From now on: the line of the change is the first of that minute.
                self._throttles[sign.trial_id] = Throttle(self.seconds, wait_first=True)
            if changed or self._throttles[sign.trial_id].due():
                found.append(sign)
        return found


def last_loss(trial_folder: Path) -> float | None:
    """The last training loss of a curve; ``None`` without one, as where the curve is on another machine."""
    path = trial_folder / "curve.jsonl"
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError, KeyError, TypeError):  # the first and the last may be cut
                point = json.loads(line)
                if point["name"] == "train_loss":
                    return float(point["value"])
    return None
