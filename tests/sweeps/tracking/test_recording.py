"""All trackers of a run together: each has a process of its own, and none can hold up or harm the sweep or another."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps.planning.checks import tracking
from sweeps.planning.plan import Plan
from sweeps.runs import layout
from sweeps.spec.settings import TrackingConfig
from sweeps.tracking.base import Tracker
from sweeps.tracking.recording import Trackers
from sweeps.tracking.sending import send
from sweeps.tracking.supervision import TrackerProcess
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


# What a stand-in for the process of one tracker does; those of the others keep what they are asked for and end.
FAULTS = {
    "hangs": "exec sleep 600",  # reads nothing, and does not end when it is asked to
    "fails": "echo Out of luck. >&2; exit 3",
    "slow": "cat > /dev/null; sleep 0.3; echo all > sent-late",  # begins once the sweep has ended
}
STAND_IN = """\
#!/bin/sh
# -P -m MODULE TRACKER RUN
cd "$5/$4"
case "$4" in
%(name)s) %(fault)s ;;
*) cat > asked ;;
esac
"""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", TRACKERS, ids=lambda kind: kind.name)
def test_a_tracker_that_hangs_fails_or_is_slow_costs_neither_the_sweep_nor_another_tracker(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Tracker], fault: str
) -> None:
    database = f"sqlite:///{tmp_path}/mlflow.db"
    trackers = Trackers(
        plan(
            tmp_path,
            f"wandb: offline, tensorboard: true, mlflow: '{database}', swanlab: offline, trackio: local",
        ),
        run,
    )
    assert {tracker.name for tracker in trackers.trackers} == {each.name for each in TRACKERS}
    program = tmp_path / "python"
    program.write_text(STAND_IN % {"name": kind.name, "fault": FAULTS[fault]})
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    messages: list[str] = []
    with trackers.recording(messages.append, "paretune run my.yaml --resume"):
        trackers.summarize()
        processes = {one.tracker.name: one for one in trackers.processes}
        broken = processes.pop(kind.name)
        assert broken.process is not None
        for other in processes.values():
            assert other.process is not None
            assert other.process.poll() is None  # it waits for the end of the sweep
            other.ask_to_end()
            assert other.process.wait(120) == 0, other.log_file.read_text()
            assert (other.folder / "asked").read_text() == "summary\n"
        if fault == "fails":
            assert broken.process.wait(120) == 3
            assert broken._watch is not None
            broken._watch.join()
        else:
            assert broken.process.poll() is None
        trackers.finish_seconds = 0.2 if fault == "hangs" else 120
    failed = f"{kind.label} tracking failed with exit code 3"
    again = f"To record what is missing: paretune run my.yaml --resume{sent_by(broken)}"
    log = run / kind.name / "tracker.log"
    said = {
        "hangs": [f"{kind.label} tracking did not end within 0.2 s. {again}; see {log}"],
        "fails": [
            f"{failed} (Out of luck.). The sweep continues without it; see {log}",
            f"{failed}. {again}; see {log}",
        ],
        "slow": [],
    }
    assert [message for message in messages if " tracking " in message] == said[fault]
    assert (run / kind.name / "sent-late").exists() is (fault == "slow")
    assert broken.process.returncode is not None


def sent_by(process: TrackerProcess) -> str:
    command = process.tracker.how_to_send(process.folder)
    return "" if command is None else f". To send what was recorded: {command}"


def test_an_mlflow_server_that_hangs_costs_neither_the_sweep_nor_another_tracker(
    run: Path, tmp_path: Path
) -> None:
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
