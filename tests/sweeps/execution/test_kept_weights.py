"""A sweep whose trials end once their validations get no better, keep their best weights, and choose their mixture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from safetensors.torch import load_file
from torch import equal

from sweeps.search.journal import journal_path
from tests.helpers.sweeps import paretune, records
from trainables.data.embedded import commands
from trainables.results import TRAINING_OBJECTIVE, read_curve

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]

SPEC = """\
name: tiny
question: Does it end?
model: {path: %(model)s, dtype: float32}
data:
  train: [rows.jsonl, others.jsonl]
  mix: interleave_under
  weights: {choice: [[1, 1], [3, 1]]}
  eval_fraction: 0.3
  cutoff: 64
stages: [{kind: sft}]
methods: [{kind: full}]
train:
  {steps: 14, batch_size: 2, precision: fp32, scheduler: constant, warmup_steps: 20, eval_steps: 1,
   learning_rate: {choice: [1.0e-4, 0.3]}, early_stopping: {patience: 2}, keep: best}
search: {trials: 4, sampler: random}
resources: {cpus: 1, concurrent: 2}
tracking: {wandb: off}
finalists: {seeds: 1}
"""


def test_trials_end_early_keep_their_best_weights_and_are_reported_so(new: Any, tmp_path: Path) -> None:
    sweep = new(SPEC)
    others = "".join(json.dumps(row) + "\n" for row in commands.rows()[60:120])
    (sweep.spec.parent / "others.jsonl").write_text(others)
    command = sweep.carry_out()
    assert command.process.returncode == 0, command.stderr
    found = [record for record in records(sweep.run).values() if record.role == "search"]
    assert len(found) == 4
    early = [record for record in found if record.ended_early]
    assert early
    for record in early:
        assert record.steps is not None
        assert record.kept_step == record.best_step == record.steps - 2 < 12
        folder = sweep.run / "trials" / record.trial_id
        points = list(read_curve(folder))
        objectives = {point["step"]: point["value"] for point in points if point["name"] == "objective"}
        assert record.objective == objectives[record.kept_step] == max(objectives.values())
        assert not any(point["name"] == TRAINING_OBJECTIVE for point in points), "other batches, other losses"
        assert not list(folder.glob("checkpoint-*"))
    assert {tuple(record.config["data"]["weights"]) for record in found} == {(1.0, 1.0), (3.0, 1.0)}
    assert len({tuple(record.mixture.items()) for record in found}) == 2

    backend = optuna.storages.journal.JournalFileBackend(str(journal_path(sweep.run, "sft-full")))
    study = optuna.load_study(study_name="sft-full", storage=optuna.storages.JournalStorage(backend))
    values = {trial.user_attrs["trial_id"]: trial.value for trial in study.trials}
    assert all(values[record.trial_id] == record.objective for record in found if record.status == "done")

    page = (sweep.run / "report/index.html").read_text(encoding="utf-8")
    assert "done early" in page
    assert "no better validation for 2 validations in a row" in page
    assert "step of the kept weights" in page
    out = tmp_path / "out"
    exported = paretune(sweep.home, "export", f"{sweep.run}:{early[0].trial_id}", out)
    assert exported.process.returncode == 0, exported.stderr
    kept = load_file(sweep.run / "trials" / early[0].trial_id / "model" / "model.safetensors")
    written = {name: value for file in out.glob("*.safetensors") for name, value in load_file(file).items()}
    assert all(equal(value, kept[name]) for name, value in written.items())
