"""One trial of one cell in this process, with no Ray; before it one of each cell that it goes on from."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.planning.dependencies import dependency_chain, with_trained_trials
from sweeps.planning.plan import Plan, base_config
from trainables import results
from trainables.memory.measuring_process import MeasuringProcess
from trainables.models import locate
from trainables.results import Record
from trainables.storage import files
from trainables.system import machine
from trainables.trial.config import TrialConfig

ROOM = 20  # full fine-tuning takes up to ten times the bytes of a model's files; two of it at a time, this


def run_one_trial(
    plan: Plan, name: str, run: Path, say: Callable[[str], None], untrained: bool = False
) -> Record:
    """Runs the suggested trial of the cell ``name`` and gives its record, or that of a trial before it which fails.

    ``untrained``: what the cell starts from is scored, and nothing of it is trained.
    What it goes on from is run first, unless an earlier call has done so in the same folder.
    """
    trials: dict[str, str] = {}
    threads = max(1, int(plan.cell(name).resources.cpus))
    with closing(Measuring(threads)) as measuring:
        import torch

        from trainables.runner.run import TrialContext, run_trial

        torch.set_num_threads(threads)  # as in a sweep
        for cell in map(plan.cell, dependency_chain(name, lambda each: plan.cell(each).depends_on)):
            ready = replace(cell, tree=with_trained_trials(cell.tree, run, trials.__getitem__))
            config = base_config(ready) if untrained and cell.name == name else ready.suggested()
            place = TrialContext(run, given_at=time.time())
            trials[cell.name] = config.trial_id()
            known = results.read_record(place.folder(config))
            if cell.name != name and known is not None and known.status == "done":
                continue
            say(f"{config.cell} {config.trial_id()} in {place.folder(config)}")
            measuring.begin(config, run)
            record = run_trial(config, place, evaluate_at=frozenset(cell.rungs), memory_gauge=measuring)
            if cell.name == name or record.status != "done":
                break
    return record


class Measuring:
    """Measures a trial's memory in its own process while the trial runs, where there are cores and memory for both."""

    def __init__(self, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # the process's
        self._process = MeasuringProcess()
        self._process.start()
        self._alongside = machine.cpu_cores() >= 2 * threads
        self._pool = ThreadPoolExecutor(1)
        self._found: Future[dict[str, Any]] | None = None

    def begin(self, config: TrialConfig, run: Path) -> None:
        """Starts measuring at once, unless it was measured before or there isn't the room."""
        from trainables.training.policy import default_device

        measured = (run / "memory" / f"{config.memory_shape()}.json").exists()
        room = ROOM * files.folder_bytes(locate.model_folder(config.model)) < machine.available_memory_bytes()
        self._found = None
        if self._alongside and room and not measured and default_device() == "cpu":
            self._found = self._pool.submit(self._process.measure, config)

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        """As ``MeasuringProcess.measure`` does."""
        return self._found.result() if self._found is not None else self._process.measure(config)

    def close(self) -> None:
        self._pool.shutdown()
        self._process.close()
