"""``paretune try``: one trial of a cell in this process, without Ray, after the trials that it continues from."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.console.step_lines import StepLines
from sweeps.planning.dependencies import dependency_chain, with_trained_trials
from sweeps.planning.plan import Plan, base_config
from trainables import results
from trainables.memory.measuring_process import MeasuringProcess
from trainables.models import locate
from trainables.results import Record
from trainables.storage import files
from trainables.system import allocator, machine
from trainables.system.wording import counted
from trainables.trial.config import TrialConfig

# Full fine-tuning needs up to ten times the bytes of a model's files: once for the trial, once for its measurement.
MEMORY_FACTOR = 20
SHOWN_CELLS = 4


def run_one_trial(
    plan: Plan, name: str, run: Path, log: Callable[[str], None], untrained: bool = False
) -> Record:
    """Runs the suggested trial of the cell ``name``; returns its record, or that of an earlier trial which failed.

    The trials that it continues from run first, unless an earlier call has run them in the same folder. ``untrained``:
    the model that the cell starts from is scored, and not trained.
    """
    trials: dict[str, str] = {}
    allocator.set_default()
    threads = max(1, int(plan.cell(name).resources.cpus))
    # As in a sweep: a GPU's memory is read in the trial, as a second process would need as much of it again.
    on_gpu = bool(machine.gpu_memory_bytes())
    with nullcontext() if on_gpu else closing(ParallelMeasurement(threads)) as measuring:
        import torch

        from trainables.memory.in_trial import InTrial
        from trainables.runner.run import TrialContext, run_trial
        from trainables.trial.resident_base import ResidentBase

        bases = ResidentBase()
        torch.set_num_threads(threads)  # as in a sweep
        for cell in map(plan.cell, dependency_chain(name, lambda cell: plan.cell(cell).depends_on)):
            # The chain begins with the trials to continue from, so their ids are known here.
            ready = replace(cell, tree=with_trained_trials(cell.tree, run, trials.__getitem__))
            config = base_config(ready) if untrained and cell.name == name else ready.suggested()
            context = TrialContext(run, handed_over_at=time.time(), bases=bases)
            trials[cell.name] = config.trial_id()
            previous = results.read_record(context.folder(config))
            # Only earlier trials are used again: the one that was asked for is always run.
            if cell.name != name and previous is not None and previous.status == "done":
                continue
            log(f"{config.cell} {config.trial_id()} in {context.folder(config)}")
            log("it loads its model and rows" if config.method else "the untrained model is scored")
            if measuring is not None:
                measuring.begin(config, run)
            steps = StepLines(cell.steps, log)
            evaluate_at = frozenset(cell.rungs) - cell.training_rungs
            record = run_trial(config, context, steps, evaluate_at, measuring or InTrial())
            if cell.name == name or record.status != "done":
                break
    return record


class ParallelMeasurement:
    """Measures a trial's memory in its own process while the trial runs, where there are cores and memory for both."""

    def __init__(self, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for the process
        self._process = MeasuringProcess()
        self._process.start()
        self._alongside = machine.cpu_cores() >= 2 * threads
        self._pool = ThreadPoolExecutor(1)
        self._measurement: Future[dict[str, Any]] | None = None

    def begin(self, config: TrialConfig, run: Path) -> None:
        """Starts measuring at once, unless it was measured before or there is not enough memory."""
        measured = (run / "memory" / f"{config.memory_shape()}.json").exists()
        enough_memory = (
            MEMORY_FACTOR * files.folder_bytes(locate.model_folder(config.model))
            < machine.available_memory_bytes()
        )
        self._measurement = None
        if self._alongside and enough_memory and not measured:
            self._measurement = self._pool.submit(self._process.measure, config)

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        """The measurement that ``begin`` started, or a new one; see ``MeasuringProcess.measure``."""
        return self._measurement.result() if self._measurement is not None else self._process.measure(config)

    def close(self) -> None:
        self._pool.shutdown()
        self._process.close()


def not_run(plan: Plan, name: str, untrained: bool) -> str:
    """What a sweep of the plan would run beside the one trial of the cell ``name``: ``Not run: the other 5 trials of
    sft-lora's search, ...``.
    """
    cell = plan.cell(name)
    others = [other for other in plan.selected if other != name]
    left = cell.trials if untrained else cell.trials - 1
    finalists = plan.spec.finalists.per_cell if cell.holds_out else 0
    other = "" if untrained else "the other "
    parts = [f"{other}{counted(left, 'trial')} of {name}'s search" if left else ""]
    parts += [counted(finalists, "finalist") if finalists else ""]
    named = ", ".join([*others[:SHOWN_CELLS], *(["..."] if len(others) > SHOWN_CELLS else [])])
    parts += [f"{counted(len(others), 'other cell')} ({named})" if others else ""]
    parts += ["" if untrained or not cell.holds_out else "the untrained model (--method base)"]
    return f"Not run: {', '.join(part for part in parts if part) or 'nothing'}"
