"""MLflow: a sweep's runs in a database and at a server of its own, read back by MLflow's client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sweeps.planning.checks import tracking
from sweeps.spec.tracker_addresses import mlflow_fault
from sweeps.tracking import connectivity, follower_process
from sweeps.tracking.base import FollowedRun
from sweeps.tracking.recording import Trackers
from sweeps.tracking.trackers.mlflow import DEFAULTS, MLflow, _artifacts
from tests.helpers import followed_runs, specs
from tests.helpers.followed_runs import ANSWER, FAILED, OTHER, SWEEP_ID, WELL, add_points, follow
from trainables.storage.damaged_files import DamagedFile

mlflow = pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to make."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    file = tmp_path / "mlflow.db"
    file.write_bytes(empty_database.read_bytes())
    return f"sqlite:///{file}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return followed_runs.write(tmp_path / "run")


def at(uri: str) -> MLflow:
    return MLflow(uri=uri, project="paretune")


def runs_at(uri: str) -> dict[str, Any]:
    """All runs of the experiment by the id in their tags."""
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("paretune")
    found = client.search_runs([experiment.experiment_id])
    assert len({one.data.tags["paretune.id"] for one in found}) == len(found)
    return {one.data.tags["paretune.id"]: one for one in found}


def curve(uri: str, run: Any, name: str) -> list[tuple[int, float]]:
    return [
        (one.step, one.value) for one in mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, name)
    ]


def check(uri: str) -> None:
    """Compares what a server or a database has of the run with the run's records."""
    found = runs_at(uri)
    parent, well, failed = (found[id_] for id_ in (SWEEP_ID, f"{SWEEP_ID}-{WELL}", f"{SWEEP_ID}-{FAILED}"))
    assert len(found) == 4
    assert parent.info.run_name == "methods"
    assert (parent.info.status, well.info.status, failed.info.status) == ("FINISHED", "FINISHED", "FAILED")
    assert well.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert well.info.run_name == f"sft-lora-{WELL}"
    assert curve(uri, well, "train_loss") == [(1, 1.5), (2, 2.5), (3, 3.5)]
    assert curve(uri, well, "objective") == [(1, -1.0), (2, -2.0), (3, -3.0)]
    assert well.data.params["method.rank"] == "8"
    assert well.data.params["train.learning_rate"] == "0.001"
    assert well.data.params["method.targets"] == '["q_proj", "v_proj"]'
    assert (well.data.metrics["quality"], well.data.metrics["test/exact_match"]) == (0.9, 0.9)
    assert well.data.metrics["peak_train_bytes"] == 1000 * 1024**2
    assert {name: failed.data.tags[name] for name in ("status", "error", "cell", "method")} == {
        "status": "failed",
        "error": "Something | broke.",
        "cell": "sft-lora",
        "method": "lora",
    }
    assert parent.data.tags["mlflow.note.content"] == ANSWER
    artifacts = mlflow.MlflowClient(uri)
    assert {one.path for one in artifacts.list_artifacts(parent.info.run_id)} == {
        "trials.parquet",
        "curves.parquet",
        "report",
    }
    assert [one.path for one in artifacts.list_artifacts(parent.info.run_id, "report")] == [
        "report/summary.md"
    ]


def test_a_run_is_recorded_in_a_database(run: Path, uri: str) -> None:
    follow(run, at(uri))
    check(uri)
    # Beside the database, as MLflow would put them into the working folder.
    assert list((run.parent / "mlartifacts").rglob("summary.md"))


def test_a_resumed_run_updates_the_same_runs_and_repeats_no_step(run: Path, uri: str) -> None:
    again = followed_runs.interrupt(run)
    follow(run, at(uri), summary=False)
    before = runs_at(uri)
    assert before[f"{SWEEP_ID}-{again}"].info.status == before[SWEEP_ID].info.status == "KILLED"
    followed_runs.resume(run, again)
    add_points(run / "trials" / again, 4)
    follow(run, at(uri))
    after = runs_at(uri)
    assert {id_: one.info.run_id for id_, one in after.items()} == {
        id_: one.info.run_id for id_, one in before.items()
    }
    resumed = after[f"{SWEEP_ID}-{OTHER}"]
    assert resumed.info.status == "FINISHED"
    assert [step for step, _ in curve(uri, resumed, "train_loss")] == [1, 2, 3, 4]


def test_what_another_database_lacks_is_sent_to_it(run: Path, uri: str, empty_database: Path) -> None:
    """Whether the address changed between two sessions, or the runs were deleted."""
    follow(run, at(uri))
    client = mlflow.MlflowClient(uri)
    for one in runs_at(uri).values():
        client.delete_run(one.info.run_id)
    follow(run, at(uri))
    check(uri)
    other = run.parent / "other.db"
    other.write_bytes(empty_database.read_bytes())
    follow(run, at(f"sqlite:///{other}"))
    check(f"sqlite:///{other}")


def test_a_curve_of_thousands_of_steps_is_sent_whole(run: Path, uri: str) -> None:
    add_points(run / "trials" / WELL, *range(4, 2001))
    follow(run, at(uri))
    well = runs_at(uri)[f"{SWEEP_ID}-{WELL}"]
    assert [step for step, _ in curve(uri, well, "train_loss")] == list(range(1, 2001))


def test_a_deleted_experiment_is_named_with_what_to_do(run: Path, uri: str) -> None:
    client = mlflow.MlflowClient(uri)
    client.delete_experiment(client.create_experiment("paretune"))
    with pytest.raises(ValueError, match=r"experiment paretune is deleted: restore it, or set another"):
        follow(run, at(uri))


def test_the_variables_of_another_run_are_left_out_and_wishes_are_kept(tmp_path: Path) -> None:
    others = {"MLFLOW_RUN_ID": "1", "MLFLOW_EXPERIMENT_NAME": "e", "MLFLOW_TRACKING_URI": "http://elsewhere"}
    wishes = {"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    tracker = MLflow(uri="http://127.0.0.1:1", project="p")
    assert tracker.environment(tmp_path, tmp_path, {**others, **wishes}) == {**DEFAULTS, **wishes}


def test_a_server_that_is_not_there_is_said_at_once_and_costs_the_sweep_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connectivity, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    sets = ("tracking.wandb=off", f"tracking.mlflow=http://ada:secret@127.0.0.1:{port}")
    trackers = Trackers(specs.plan(specs.spec_folder(tmp_path / "spec"), specs.SPEC, sets), run)
    trackers.finish_seconds = 0.5
    messages: list[str] = []
    with trackers.recording(messages.append, "paretune run my.yaml --resume"):
        trackers.summarize()
    assert messages[0].startswith(
        f"MLflow: http://***@127.0.0.1:{port}, experiment paretune; it can't be reached"
    )
    assert messages[1] == (
        "MLflow tracking did not end within 0.5 s. To record what is missing: paretune run my.yaml --resume; "
        f"see {run / 'mlflow' / 'tracker.log'}"
    )


def test_a_password_in_the_address_is_a_variable_and_not_in_what_mlflow_is_given(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeps.tracking.trackers import mlflow as module

    tracker = at("http://ada:se%2Fcret@127.0.0.1:1/path")
    variables = tracker.environment(tmp_path, tmp_path, {"MLFLOW_TRACKING_USERNAME": "other"})
    assert variables["MLFLOW_TRACKING_USERNAME"] == "ada"
    assert variables["MLFLOW_TRACKING_PASSWORD"] == "se/cret"
    monkeypatch.setattr(module, "MlflowRuns", lambda run, uri, project: uri)
    assert tracker.open(FollowedRun.read(run)) == "http://127.0.0.1:1/path"
    assert at("http://127.0.0.1:1").environment(tmp_path, tmp_path, {}) == DEFAULTS


def test_the_error_of_a_process_is_logged_without_the_password_of_a_database(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(tracker: MLflow, run: FollowedRun) -> None:
        raise ConnectionError(f"no answer of {tracker.uri}")

    monkeypatch.setattr(MLflow, "open", refuse)
    monkeypatch.setenv(follower_process.SETTINGS, at("postgresql://ada:secret@host/db").model_dump_json())
    monkeypatch.setattr(sys, "argv", ["follower_process", "mlflow", str(run)])
    with pytest.raises(SystemExit, match="1"):
        follower_process.main()
    error = capsys.readouterr().err
    assert error.endswith("ConnectionError: no answer of postgresql://***@host/db\n")
    assert "secret" not in error


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://host/db",
        "postgresql:///db?host=/run/postgresql",
        "mssql+pyodbc:///?odbc_connect=DSN",
        "mysql://h/d",
    ],
)
def test_reports_of_a_database_at_a_server_last(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    assert mlflow_fault(uri) is None
    assert _artifacts(uri) == str(tmp_path / "mlflow-artifacts")
    assert _artifacts("http://127.0.0.1:5000") is _artifacts("databricks") is None


def test_a_report_with_a_link_to_files_elsewhere_is_not_sent(run: Path, uri: str, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("secret")
    (run / "report" / "figures").symlink_to(tmp_path)
    with pytest.raises(DamagedFile, match=r"report/figures is a link"):
        follow(run, at(uri))


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("127.0.0.1:5000", "got 127.0.0.1:5000. Did you mean http://127.0.0.1:5000?"),
        ("http://", "MLflow needs a host, as in http://127.0.0.1:5000"),
        ("http://127.0.0.1:x", "got http://127.0.0.1:x: its port or its host can't be read"),
        ("sqlite:///mlflow.db", "the file would depend on the working folder"),
        ("sqlite:///", "MLflow needs a file after sqlite:///"),
        ("file:///home/ada/mlruns", "Did you mean sqlite:////home/ada/mlruns/mlflow.db?"),
        ("/home/ada/mlruns", "it has given up folders of files"),
        ("http://ada:secret/word@host", "got http://***@host: its port or its host can't be read"),
        ("ftp://ada:secret@host", "got ftp://***@host. Did you mean http://"),
    ],
)
def test_an_address_that_can_not_be_right_is_an_error_of_the_plan(
    tmp_path: Path, uri: str, what: str
) -> None:
    text = specs.SPEC + f"tracking: {{wandb: off, mlflow: '{uri}'}}\n"
    (error,) = specs.plan(specs.spec_folder(tmp_path), text).errors
    assert "spec.yaml:11 tracking.mlflow: " in str(error)
    assert what in str(error)
    assert "secret" not in str(error)


def test_a_missing_package_is_an_error_of_the_plan_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = specs.SPEC + "tracking: {wandb: off, mlflow: 'http://127.0.0.1:5000'}\n"
    folder = specs.spec_folder(tmp_path)
    assert not specs.plan(folder, text).errors
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    (error,) = specs.plan(folder, text).errors
    assert str(error).endswith("tracking.mlflow: mlflow is not installed: pip install 'paretune[mlflow]'")


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """MLflow's own server on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        uri = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 180
        while not connectivity.is_reachable(uri):
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.mark.slow
def test_a_run_is_recorded_at_a_server_from_a_process_of_its_own(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("flask")
    with server(tmp_path) as uri:
        sets = ("tracking.wandb=off", f"tracking.mlflow={uri}")
        trackers = Trackers(specs.plan(specs.spec_folder(tmp_path / "spec"), specs.SPEC, sets), run)
        messages: list[str] = []
        with trackers.recording(messages.append):
            trackers.summarize()
        assert messages == [f"MLflow: {uri}, experiment paretune"], (run / "mlflow/tracker.log").read_text()
        check(uri)
