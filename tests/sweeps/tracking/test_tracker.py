"""Weights & Biases: the mode, chosen quickly and without a prompt; and what the tracker sends of a run folder."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sweeps.planning.plan import Plan
from sweeps.spec.problems import SpecError
from sweeps.tracking import connectivity
from sweeps.tracking.connectivity import CONNECT_SECONDS, choose_mode
from sweeps.tracking.tracker import Tracker
from tests.helpers import run_folders, specs
from tests.helpers.paths import ROOT
from tests.helpers.sweeps import wandb_runs
from trainables import results
from trainables.storage import files


@pytest.fixture(autouse=True)
def logged_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = (
        "WANDB_API_KEY",
        "WANDB_MODE",
        "WANDB_BASE_URL",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "http_proxy",
        "https_proxy",
    )
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)


def made(tmp_path: Path, wandb: str) -> Plan:
    return specs.plan(specs.spec_folder(tmp_path), specs.SPEC, (f"tracking.wandb={wandb}",))


# Which mode


def test_without_a_key_auto_is_offline_and_says_why() -> None:
    mode, why = choose_mode("auto")
    assert mode == "offline"
    assert "no API key" in why
    assert "wandb sync" in why


def test_required_online_mode_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"tracking\.wandb: online is impossible: no API key"):
        Tracker(made(tmp_path, "online"), tmp_path / "run")


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nobody.invalid"])
def test_a_server_that_does_not_answer_makes_auto_offline_within_seconds(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", url)
    started = time.monotonic()
    mode, why = choose_mode("auto")
    assert time.monotonic() - started < 5
    assert mode == "offline"
    assert "can't be reached" in why
    with pytest.raises(SpecError):
        choose_mode("online")


@pytest.mark.usefixtures("key")
def test_a_host_name_that_never_resolves_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*args: Any, **options: Any) -> None:
        time.sleep(30)
        raise TimeoutError

    monkeypatch.setattr(connectivity.socket, "create_connection", look_up)
    started = time.monotonic()
    assert choose_mode("auto")[0] == "offline"
    assert time.monotonic() - started < CONNECT_SECONDS + 1


@pytest.mark.usefixtures("key")
def test_with_a_key_and_an_answer_it_is_online(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert choose_mode("auto") == choose_mode("online") == ("online", "logged in")


@pytest.mark.usefixtures("key")
def test_behind_a_proxy_the_proxy_is_contacted(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(
        connectivity,
        "_connect",
        lambda host, port, answers: (called.append((host, port)), answers.put(True)),
    )
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert choose_mode("auto")[0] == "online"
    assert called == [("proxy.example", 3128)]


@pytest.mark.usefixtures("key")
def test_offline_mode_contacts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectivity, "server_reachable", lambda: pytest.fail("it called"))
    assert choose_mode("offline")[0] == "offline"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert choose_mode("auto")[0] == "offline"


# Off


def test_off_starts_no_process_and_writes_no_file(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    tracker = Tracker(made(tmp_path, "off"), run)
    messages: list[str] = []
    with tracker.recording(messages.append):
        tracker.summarize()
    assert messages == []
    assert list(run.iterdir()) == []


def test_the_driver_imports_no_wandb() -> None:
    code = (
        "import sys, reports.write, sweeps.cli, sweeps.execution.run_folder, sweeps.execution.launch;"
        "import sweeps.console.sweep_progress, sweeps.search.searcher;"
        "import sweeps.execution.slot, sweeps.tracking.tracker; print('wandb' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "False"


# What is sent


def add_trial(run: Path, record: results.Record) -> Path:
    folder = run / "trials" / record.trial_id
    files.write_json(folder / "config.json", {"cell": record.cell, "train": {"steps": 3}})
    return folder


def add_points(folder: Path, *steps: int) -> None:
    with (folder / "curve.jsonl").open("a") as curve:
        for step in steps:
            curve.write(f'{{"step": {step}, "name": "train_loss", "value": {step}.5}}\n')
            curve.write(f'{{"step": {step}, "name": "objective", "value": -{step}.0}}\n')


def test_a_run_folder_is_recorded_until_its_end(tmp_path: Path) -> None:
    """A trial that ends well, one that fails, one that is interrupted and resumed in a second session."""
    run = tmp_path / "run"
    plan = made(tmp_path, "offline")
    files.write_json(run / "environment.json", {"name": "methods", "plan": {}})
    ids = {name: name[0] * 12 for name in ("well", "failed", "again")}
    found = {name: run_folders.record(trial_id) for name, trial_id in ids.items()}
    found["failed"] = run_folders.failed(ids["failed"])
    messages: list[str] = []

    tracker = Tracker(plan, run)
    with tracker.recording(messages.append):
        trials = {name: add_trial(run, record) for name, record in found.items()}
        for folder in trials.values():
            add_points(folder, 1, 2)
        time.sleep(3)
        for name in ("well", "failed"):
            add_points(trials[name], 3)
            results.write_record(trials[name], found[name])
        results.write_record(trials["again"], found["again"].model_copy(update={"status": "interrupted"}))
        tracker.hurry()
        tracker.finish_seconds = 30
    first = wandb_runs(run)
    assert len(messages) == 1, messages
    assert {key.partition("-")[2]: reported.exit_code for key, reported in first.items()} == {
        ids["well"]: 0,
        ids["failed"]: 1,
        ids["again"]: 0,
    }
    assert all(key.partition("-")[0] == next(iter(first)).partition("-")[0] for key in first)
    well = next(reported for key, reported in first.items() if key.endswith(ids["well"]))
    assert {step: (values["train_loss"], values["objective"]) for step, values in well.history.items()} == {
        1: (1.5, -1.0),
        2: (2.5, -2.0),
        3: (3.5, -3.0),
    }
    assert well.summary["peak_train_bytes"] == found["well"].peak_train_bytes
    assert well.summary["status"] == "done"

    with Tracker(plan, run).recording(messages.append):
        add_points(trials["again"], 3)
        results.write_record(trials["again"], found["again"])
    names = [path.name for path in (run / "wandb").glob("offline-run-*")]
    assert sum(name.endswith(ids["again"]) for name in names) == 2  # W&B joins them: one id
    assert len(names) == 4


def test_a_run_whose_every_trial_failed_has_a_summary_without_a_front(tmp_path: Path) -> None:
    run = tmp_path / "run"
    files.write_json(run / "environment.json", {"name": "methods", "plan": {}})
    failed = run_folders.failed("f" * 12, quality=None, peak_train_bytes=None)
    results.write_record(add_trial(run, failed), failed)
    results.write_tables(run)
    messages: list[str] = []
    tracker = Tracker(made(tmp_path, "offline"), run)
    with tracker.recording(messages.append):
        tracker.summarize()
    assert len(messages) == 1, (run / "wandb" / "tracker.log").read_text()
    (summary,) = (reported for reported in wandb_runs(run).values() if reported.job_type == "summary")
    assert summary.artifacts["methods-records"] == ["curves.parquet", "trials.parquet"]


def test_a_tracker_that_fails_does_not_affect_the_sweep_and_is_reported_in_one_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()  # without the environment.json that it reads
    messages: list[str] = []
    tracker = Tracker(made(tmp_path, "offline"), run)
    with tracker.recording(messages.append):
        time.sleep(0.1)
        tracker.summarize()
    assert "failed with exit code 1" in messages[-1]
    assert messages[-1].endswith("; see " + str(run / "wandb" / "tracker.log"))
