"""``paretune plan --measure``: a few steps of each cell whose speed on this machine isn't known, in this process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.planning.cell import Cell
from sweeps.planning.plan import Plan
from sweeps.planning.times import speeds
from trainables.results import Record
from trainables.training.activity import Activity
from trainables.training.training_callback import NoControl
from trainables.trial.config import TrialConfig

STEPS = 4  # that are trained; the first, which also allocates memory and compiles, doesn't count
ROWS = 8  # that are scored at the end
SECONDS = 60.0  # after which further cells are begun only if all that are left will take about as much again


def measure(plan: Plan, log: Callable[[str], None]) -> None:
    """Trains a few steps of each selected cell whose time is unknown, and stores how long they took.

    Cells that continue from others are measured on the base model: their weights are as many.
    """
    wanted = [name for name in plan.times().unknown if name in plan.selected]
    if wanted:
        _import_libraries()
    began = time.monotonic()
    for count, name in enumerate(wanted):
        spent = time.monotonic() - began
        if spent > SECONDS and spent / count * len(wanted) > 2 * SECONDS:
            log(f"{', '.join(wanted[count:])}: not measured yet, a minute is over; --measure again goes on")
            return
        _measure_cell(plan.cell(name), log)


def _import_libraries() -> None:
    """Imports what every trial needs, as workers do: it is no part of the first trial's time."""
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from trl import SFTTrainer  # noqa: F401


def _measure_cell(cell: Cell, log: Callable[[str], None]) -> None:
    import torch

    from trainables.runner.run import TrialContext, run_trial

    config = _short(cell)
    if config is None:
        log(f"{cell.name}: not measured, as it needs a model that a trial has to train first")
        return
    torch.set_num_threads(max(1, int(cell.resources.cpus)))
    clock = StepClock()
    log(f"{cell.name}: {STEPS} steps")
    with tempfile.TemporaryDirectory(prefix="paretune-measure-") as folder:
        context = TrialContext(Path(folder), handed_over_at=time.time())
        record = run_trial(config, context, control=clock)
    speed = _speed(cell, record, clock)
    if speed is None:
        log(f"{cell.name}: not measured: {record.error or record.status}")
        return
    speeds.store({f"measured {cell.name} {speed.similarity} {speed.model}": speed})


class StepClock(NoControl):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.ends: dict[int, float] = {}

    def follow(self, activity: Activity) -> None:
        if activity.phase == "training" and activity.step:
            self.ends.setdefault(activity.step, time.perf_counter())

    def step_seconds(self) -> float | None:
        """The mean seconds of a step after the first; ``None`` where there was none."""
        steps = sorted(self.ends)
        return (
            (self.ends[steps[-1]] - self.ends[steps[0]]) / (steps[-1] - steps[0]) if len(steps) > 1 else None
        )


def _short(cell: Cell) -> TrialConfig | None:
    """The cell's suggested trial, shortened and on the base model; ``None`` where another part needs a trial, too."""
    model = {key: value for key, value in cell.tree["model"].items() if key != "start"}
    stage = cell.tree["stage"]
    if any(isinstance(value, dict) and value.get("cell") for value in stage.values()):
        return None
    config = replace(cell, tree={**cell.tree, "model": model}).suggested()
    rows: dict[str, Any] = (
        {"eval_rows": min(config.data.eval_rows or ROWS, ROWS)} if config.data.holds_out else {}
    )
    train: dict[str, Any] = {"steps": STEPS, "epochs": None, "eval_steps": None, "save_steps": None}
    train |= {"warmup_steps": 0, "early_stopping": None, "keep": "last"}
    return config.model_copy(
        update={
            "train": config.train.model_copy(update=train),
            "data": config.data.model_copy(update=rows),
        }
    )


def _speed(cell: Cell, record: Record, clock: StepClock) -> speeds.Speed | None:
    seconds = clock.step_seconds()
    found = speeds.speed_of(cell, record) if seconds is not None else None
    if found is None or seconds is None:
        return None
    return replace(found, train_seconds=seconds * (record.steps or 0), data=speeds.data_key(cell.suggested()))
