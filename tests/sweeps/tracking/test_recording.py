"""All trackers of a run together: each has a process of its own, and none can hold up or harm the sweep or another."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

from sweeps.planning.checks import tracking
from sweeps.planning.plan import Plan
from sweeps.runs import layout
from sweeps.spec.settings import TrackingConfig
from sweeps.tracking.recording import Trackers
from sweeps.tracking.sending import send
from sweeps.tracking.trackers import TRACKERS
from sweeps.tracking.trackers.tensorboard import TensorBoard
from tests.helpers import followed_runs, specs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return followed_runs.write(tmp_path / "run")


def plan(tmp_path: Path, settings: str) -> Plan:
    return specs.plan(specs.spec_folder(tmp_path / "spec"), specs.SPEC + f"tracking: {{{settings}}}\n")


def test_each_tracker_has_a_setting_and_a_folder_by_its_name() -> None:
    names = [kind.name for kind in TRACKERS]
    assert sorted(names) == sorted(layout.TRACKERS)
    assert set(names) <= set(TrackingConfig.model_fields)
    assert set(tracking.PACKAGES) <= set(names)


def test_only_wandb_is_used_without_being_asked_for(tmp_path: Path) -> None:
    folder = specs.spec_folder(tmp_path / "spec")
    assert [tracker.name for tracker in Trackers(specs.plan(folder), tmp_path / "run").trackers] == ["wandb"]
    assert not Trackers(specs.plan(folder, sets=("tracking.wandb=off",)), tmp_path / "run").trackers


def test_a_tracker_that_hangs_costs_neither_the_sweep_nor_another_tracker(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    messages: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are accepted, and never answered
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        trackers = Trackers(plan(tmp_path, f"wandb: off, tensorboard: true, mlflow: '{uri}'"), run)
        with trackers.recording(messages.append, "paretune run my.yaml --resume"):
            deadline = time.monotonic() + 120
            while len(list((run / "tensorboard").glob("sent/*"))) < 3 and time.monotonic() < deadline:
                time.sleep(0.1)
            trackers.summarize()
            (tensorboard,) = (one for one in trackers.processes if one.tracker.name == "tensorboard")
            tensorboard.ask_to_end()
            assert tensorboard.process is not None
            assert tensorboard.process.wait(120) == 0, tensorboard.log_file.read_text()
            trackers.finish_seconds = 0.5
    assert messages == [
        f"TensorBoard: tensorboard --logdir {run / 'tensorboard'}",
        f"MLflow: {uri}, experiment paretune",
        "MLflow tracking did not end within 0.5 s. To record what is missing: paretune run my.yaml --resume; "
        f"see {run / 'mlflow' / 'tracker.log'}",
    ]
    assert list((run / "tensorboard").glob("events.*"))


def test_a_tracker_that_can_not_start_is_reported_and_the_sweep_continues(run: Path, tmp_path: Path) -> None:
    (run / "tensorboard").write_text("a file in its place")
    messages: list[str] = []
    trackers = Trackers(plan(tmp_path, "wandb: off, tensorboard: true"), run)
    with trackers.recording(messages.append, "paretune run my.yaml --resume"):
        trackers.summarize()
    assert len(messages) == 2
    assert messages[1].startswith("TensorBoard tracking could not start: [Errno 17] File exists:")
    assert messages[1].endswith(
        "The sweep continues without it. To record what is missing: paretune run my.yaml --resume"
    )


@pytest.mark.parametrize("package", ["swanlab", "trackio"])
def test_a_tracker_whose_package_is_missing_is_an_error_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    mode = {"swanlab": "offline", "trackio": "local"}[package]
    (error,) = plan(tmp_path, f"wandb: off, {package}: {mode}").errors
    assert str(error).endswith(
        f"spec.yaml:11 tracking.{package}: {package} is not installed: pip install 'paretune[{package}]'"
    )


def test_a_name_that_swanlab_refuses_is_an_error_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    (error,) = plan(tmp_path, "wandb: off, swanlab: offline, project: 'my tests'").errors
    assert "tracking.project: SwanLab takes 1 to 100 letters" in str(error)
    assert "got my tests. Did you mean my-tests?" in str(error)


def test_ctrl_c_while_a_run_is_sent_ends_the_process_and_is_said(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = subprocess.Popen.wait
    asked: list[float | None] = []

    def interrupted(process: subprocess.Popen[str], timeout: float | None = None) -> int:
        if timeout is not None and not asked:
            asked.append(timeout)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    messages: list[str] = []
    tracker = TensorBoard.model_validate({})
    with pytest.raises(KeyboardInterrupt):
        send(tracker, run, messages.append, "paretune wandb methods")
    log = run / "tensorboard" / "tracker.log"
    assert messages == [
        "TensorBoard tracking was ended by Ctrl-C. To record what is missing: paretune wandb methods; see "
        + str(log)
    ]
