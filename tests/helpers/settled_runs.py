"""Simulated runs that are settled: seeds and test rows are added where the project's own advice says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reports.analysis.comparison import compare
from reports.analysis.further_work.outcomes import settled_pairs
from reports.analysis.further_work.spending import Spending, spend
from reports.analysis.group import Group
from reports.analysis.row_scores import FURTHER_ROWS
from tests.helpers.run_folders import write_run, write_scores
from tests.helpers.simulated_runs import METHODS, Array, World, _record, _Rows
from trainables import results
from trainables.results import write_record, write_tables

TIMES = {"setup_seconds": 2.0, "train_seconds": 60.0, "eval_seconds": 8.0}


class SettledRun:
    """A run of one world, of whose ``held_out`` test rows the trials scored the first ``world.rows``."""

    def __init__(self, world: World, held_out: int, folder: Path, dice: np.random.Generator) -> None:
        self.world, self.held_out, self.dice = world, held_out, dice
        self._rows = _Rows(replace(world, rows=held_out), held_out, dice)
        self._gaps = dict(zip(METHODS, world.gaps, strict=False))
        self.scores: dict[str, Array] = {}
        self.truths: dict[str, float] = {}
        shutil.rmtree(folder, ignore_errors=True)
        trials = [self._trial(method, seed) for method in self._gaps for seed in range(self._trainings)]
        if world.untuned_gap is not None:
            trials.append(self._scored("base", "base", world.untuned_gap, 0.0))
        self.folder = write_run(folder, trials, **world.environment)
        for trial_id in self.scores:
            self._write_own(trial_id)

    @property
    def _trainings(self) -> int:
        return 1 if self.world.is_conditional() else 1 + self.world.seeds

    def group(self) -> Group:
        (group,) = compare([results.gather_run(self.folder)])
        return group

    def looks(self, count: int, seconds: float) -> Iterator[Group]:
        """The report at the run's end, and after each time that it is settled, as long as there is something to add."""
        yield self.group()
        for _ in range(count - 1):
            found = spend(self.folder, seconds, lambda _: self.held_out - self.world.rows, lambda _: True)
            if not (found.scorings or found.trainings):
                return
            self.add(found)
            yield self.group()

    def add(self, found: Spending) -> None:
        """Does what ``paretune settle`` does."""
        path = self.folder / "settle.json"
        looks = json.loads(path.read_text())["looks"] if path.exists() else []
        entry = {"begun": "now", "reported": "then", "settled": settled_pairs(self.folder)}
        path.write_text(json.dumps({"looks": [*looks, entry]}))
        for scoring in found.scorings:
            for trial_id in scoring.trial_ids:
                self._write_further(trial_id, scoring.rows)
        for training in found.trainings:
            trial = self._trial(training.trial_id.rpartition("-")[0], training.seed)
            trial_folder = self.folder / "trials" / trial.trial_id
            trial_folder.mkdir(parents=True)
            (trial_folder / "config.json").write_text(json.dumps(trial.config))
            write_record(trial_folder, trial.model_copy(update={"started_at": "2026-01-02T00:00:00Z"}))
            self._write_own(trial.trial_id)
            if training.further_rows:
                self._write_further(trial.trial_id, training.further_rows)
        write_tables(self.folder)

    def _trial(self, method: str, seed: int) -> Any:
        luck = float(self.dice.normal(0, self.world.seed_spread)) if self.world.seed_spread else 0.0
        gap = self._gaps[method]
        self.truths[method] = self._rows.truth(gap, luck if self.world.is_conditional() else 0.0)
        role = "search" if seed == 0 else "finalist"
        return self._scored(f"{method}-{seed}", method, gap, luck, role=role, seed=seed)

    def _scored(self, trial_id: str, method: str, gap: float, luck: float, **more: Any) -> Any:
        self.scores[trial_id] = self._rows.scores(gap, luck, self.dice)
        own = self.scores[trial_id][: self.world.rows]
        return _record(self.world, trial_id, method, own, **TIMES, **more)

    def _write_own(self, trial_id: str) -> None:
        own = self.world.rows
        write_scores(
            self.folder, trial_id, self.scores[trial_id][:own].tolist(), prompt=self._rows.prompts[:own]
        )

    def _write_further(self, trial_id: str, rows: int) -> None:
        own = self.world.rows
        numbers = range(own, own + rows)
        table = {
            "row": list(numbers),
            "prompt": [self._rows.prompts[number] for number in numbers],
            "reference": ["on"] * rows,
            "prediction": ["on"] * rows,
            "score": [float(self.scores[trial_id][number]) for number in numbers],
        }
        pq.write_table(pa.table(table), self.folder / "trials" / trial_id / FURTHER_ROWS)
