"""Trackio: the local database of a sweep's runs, read back by Trackio's own interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps.spec.settings import TrackingConfig
from sweeps.tracking.follower_process import SETTINGS
from sweeps.tracking.trackers.trackio import FOLDER, Trackio
from tests.helpers import followed_runs
from tests.helpers.followed_runs import ANSWER, FAILED, SWEEP_ID, WELL, add_points
from tests.helpers.paths import ROOT

pytest.importorskip("trackio", reason="trackio is not installed; `make trackers` runs these tests")
LOCAL = Trackio(project="paretune", shared_folder=None)
READ = """\
import json, sys, trackio
from trackio.sqlite_storage import SQLiteStorage

runs = trackio.Api().runs("paretune")
print(json.dumps({run.name: [run.config, SQLiteStorage.get_logs("paretune", run.name, run_id=run.id)] for run in runs}))
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return followed_runs.write(tmp_path / "run")


def python(run: Path, *arguments: str, request: str = "") -> str:
    """Runs Python with the variables of the tracker's process: Trackio reads its own as it is imported."""
    folder = run / "trackio"
    folder.mkdir(exist_ok=True)
    variables = LOCAL.environment(folder, run, {**os.environ, "TRACKIO_SPACE_ID": "somebody/else"})
    found = subprocess.run(
        [sys.executable, *arguments],
        env={**variables, SETTINGS: LOCAL.model_dump_json()},
        input=request,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def follow(run: Path, request: str = "summary\n") -> None:
    python(run, "-m", "sweeps.tracking.follower_process", "trackio", str(run), request=request)


def runs_of(run: Path) -> dict[str, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """By name, the config of a run and its values by step."""
    return {name: (config, logs) for name, (config, logs) in json.loads(python(run, "-c", READ)).items()}


def curve(logs: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(each["step"], each[name]) for each in logs if name in each]


def test_each_trial_is_a_run_and_the_answer_is_one(run: Path) -> None:
    follow(run)
    found = runs_of(run)
    config, logs = found[f"sft-lora-{SWEEP_ID}-{WELL}"]
    assert len(found) == 4
    assert (config["method.rank"], config["_Group"]) == (8, "methods")
    assert curve(logs, "train_loss") == [(1, 1.5), (2, 2.5), (3, 3.5)]
    assert curve(logs, "quality") == [(3, 0.9)]
    assert curve(found[f"sft-lora-{SWEEP_ID}-{FAILED}"][1], "error") == [(3, "Something | broke.")]
    _, summary = found[f"methods-{SWEEP_ID}-summary"]
    assert ANSWER in json.dumps(summary).encode().decode("unicode_escape")
    assert any("pareto" in each for each in summary)


def test_an_interrupted_trial_continues_in_its_run_without_repeated_steps(run: Path) -> None:
    again = followed_runs.interrupt(run)
    follow(run, request="")
    followed_runs.resume(run, again)
    add_points(run / "trials" / again, 4)
    follow(run)
    found = runs_of(run)
    assert len(found) == 4
    _, logs = found[f"sft-lora-{SWEEP_ID}-{again}"]
    assert [step for step, _ in curve(logs, "train_loss")] == [1, 2, 3, 4]


def test_a_deleted_database_is_written_anew(run: Path) -> None:
    follow(run)
    for path in (run / "trackio").glob("paretune.*"):
        path.unlink()
    follow(run)
    assert len(runs_of(run)) == 4


def test_a_folder_that_the_environment_names_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "all sweeps"))
    tracker = Trackio.requested(TrackingConfig(trackio="local"))
    assert tracker is not None
    assert (
        tracker.announcement(tmp_path)
        == f"TRACKIO_DIR='{tmp_path}/all sweeps' trackio show --project paretune"
    )
