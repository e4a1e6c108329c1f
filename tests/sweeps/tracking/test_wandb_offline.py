"""W&B's offline files have the same content, whether a sweep is recorded as it runs or the command writes them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reports.write import write
from sweeps import cli
from sweeps.tracking.recording import Trackers
from tests.helpers import followed_runs, run_folders, specs
from tests.helpers.followed_runs import OTHER, WELL, add_points
from tests.helpers.sweeps import WandbRun, wandb_runs
from trainables import results

pytestmark = pytest.mark.slow  # W&B's own processes take half a minute of processor time


def recorded(run: Path, tmp_path: Path) -> list[str]:
    """Records a run as a sweep does: two trials train, their records come, then the tables and the report."""
    records = {trial: results.read_record(run / "trials" / trial) for trial in (WELL, OTHER)}
    for trial in records:
        (run / "trials" / trial / "record.json").unlink()
        (run / "trials" / trial / "curve.jsonl").unlink()
        add_points(run / "trials" / trial, 1, 2)
    plan = specs.plan(specs.spec_folder(tmp_path / "spec"), specs.SPEC, ("tracking.wandb=offline",))
    messages: list[str] = []
    trackers = Trackers(plan, run)
    with trackers.recording(messages.append):
        deadline = time.monotonic() + 300
        while len(list(run.glob("wandb/offline-run-*"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        for trial, record in records.items():
            assert record is not None
            add_points(run / "trials" / trial, 3)
            results.write_record(run / "trials" / trial, record)
        results.write_tables(run)
        write([run])
        trackers.summarize()
    return messages


def content(run: WandbRun) -> dict[str, Any]:
    """All of a run but the moments at which it was recorded, and the random ids that W&B gives to tables."""

    def kept(values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in values.items()
            if not (name.startswith("_") or name.endswith("artifact_path"))
        }

    return {
        "run": (run.project, run.group, run.job_type, run.exit_code),
        "config": kept(run.config),
        "history": {step: kept(values) for step, values in run.history.items()},
        "summary": kept(run.summary),
        "artifacts": run.artifacts,
    }


def test_the_command_writes_what_the_sweep_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_TAGS", "WANDB_NOTES"):
        monkeypatch.delenv(name, raising=False)
    run = followed_runs.write(tmp_path / "methods")
    for trial in (WELL, OTHER):
        run_folders.write_scores(run, trial, [1.0, 0.0], prediction=["on", "off"])
    messages = recorded(run, tmp_path)
    assert len(messages) == 1, (run / "wandb" / "tracker.log").read_text()
    copied = Path(shutil.copytree(run, tmp_path / "copied" / "methods"))
    shutil.rmtree(copied / "wandb")
    result = CliRunner().invoke(cli.app, ["wandb", str(copied), "--offline"])
    assert result.exit_code == 0, result.output
    first, again = wandb_runs(run), wandb_runs(copied)
    assert len(first) == 4
    assert first.keys() == again.keys()
    assert first[f"a1b2c3-{WELL}"].history[3]["objective"] == -3.0
    assert any(name.startswith("sample_answers") for name in first[f"a1b2c3-{WELL}"].summary)
    for id_ in first:
        assert content(again[id_]) == content(first[id_])
