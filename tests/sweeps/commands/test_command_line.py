"""The command line: exit codes, what is printed where, and errors as messages."""

from __future__ import annotations

import json
import tempfile
import threading
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sweeps import cli
from sweeps.cluster import private_folder
from sweeps.commands import errors
from sweeps.commands.run import Sweep
from sweeps.doctor import report
from sweeps.execution.run_options import RunOptions
from sweeps.runs import lock
from sweeps.spec.spec import SHIPPED, read
from tests.helpers import run_folders, specs, sweeps
from trainables import results
from trainables.storage import files


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good spec, its model and rows; the working directory."""
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(specs.spec_folder(tmp_path))
    (tmp_path / "spec.yaml").write_text(specs.SPEC)
    return tmp_path


def paretune(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def change(workdir: Path, old: str, new: str) -> None:
    assert old in specs.SPEC
    (workdir / "spec.yaml").write_text(specs.SPEC.replace(old, new))


ERRORS = [
    pytest.param("rank:", "rnak:", "spec.yaml:7 methods[1].rnak: ", id="unknown key"),
    pytest.param("[1e-4, 5e-3]", "[5e-3, 1e-4]", "spec.yaml:8 train.learning_rate: ", id="bad domain"),
    pytest.param("batch_size: 2", "batch_size: two", "spec.yaml:8 train.batch_size: ", id="wrong type"),
    pytest.param(
        "train: rows.jsonl", "train: nothing.jsonl", "spec.yaml:3 data.train: ", id="missing data file"
    ),
    pytest.param("train: rows.jsonl", "train: empty.jsonl", "spec.yaml:3 data.train: ", id="empty data"),
    pytest.param("{path: model}", "{path: nowhere}", "spec.yaml:2 model.path: ", id="missing model"),
]


@pytest.mark.parametrize("command", ["run", "plan", "try"])
@pytest.mark.parametrize(("old", "new", "message"), ERRORS)
def test_an_error_in_the_spec_is_shown_with_its_line_and_ends_with_2(
    workdir: Path, command: str, old: str, new: str, message: str
) -> None:
    (workdir / "empty.jsonl").write_text("")
    change(workdir, old, new)
    found = paretune(command, "spec.yaml")
    assert found.exit_code == 2
    assert message in found.stderr
    assert "Traceback" not in found.output + found.stderr
    assert not (workdir / "runs").exists()


def test_an_unknown_spec_lists_the_shipped_ones(workdir: Path) -> None:
    found = paretune("run", "metods")
    assert found.exit_code == 2
    for file in SHIPPED.glob("*.yaml"):
        assert file.stem in found.stderr
    assert "Did you mean methods?" in found.stderr or "methods" in found.stderr


def test_debug_shows_the_stack_trace_of_an_error_and_ends_with_2_too(workdir: Path) -> None:
    change(workdir, "rank:", "rnak:")
    try:
        found = paretune("--debug", "run", "spec.yaml")
    finally:
        errors.Debug.on = False
    assert found.exit_code == 2
    assert "Traceback" in found.stderr
    assert "spec.yaml:7" in found.stderr


def test_a_bug_keeps_its_stack_trace(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise ValueError("a bug")

    monkeypatch.setattr("sweeps.planning.plan.make", broken)
    found = paretune("plan", "spec.yaml")
    assert found.exit_code == 1
    assert isinstance(found.exception, ValueError)


def test_ctrl_c_while_planning_ends_with_130(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeps.planning.plan.make", interrupted)
    assert paretune("run", "spec.yaml").exit_code == 130


def test_a_plan_without_errors_ends_with_0_and_shows_the_cells(workdir: Path) -> None:
    found = paretune("plan", "spec.yaml")
    assert found.exit_code == 0
    assert "sft-full" in found.stdout
    assert "sft-lora" in found.stdout


def test_a_plan_as_json_is_json_alone_also_with_errors(workdir: Path) -> None:
    good = json.loads(paretune("plan", "spec.yaml", "--json").stdout)
    assert [cell["cell"] for cell in good["cells"]] == ["sft-full", "sft-lora"]
    assert good["trials"] == 6
    assert good["cells"][0]["predicted_peak_bytes"] is None
    change(workdir, "rank:", "rnak:")
    found = paretune("plan", "spec.yaml", "--json")
    assert found.exit_code == 2
    # The warnings are about the few rows.
    problems = json.loads(found.stdout)["problems"]
    assert [each["path"] for each in problems if each["severity"] == "error"] == ["methods[1].rnak"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("spec.yaml", "--memory", "3apples"), "3apples"),
        ((), "give a SPEC"),
        (("--grid",), "need each other"),
    ],
)
def test_a_wrong_option_of_a_plan_is_json_too(workdir: Path, arguments: tuple[str, ...], words: str) -> None:
    found = paretune("plan", *arguments, "--json")
    assert found.exit_code == 2
    assert words in json.loads(found.stdout)["problems"][0]["message"]


def test_warnings_alone_do_not_make_a_plan_fail(workdir: Path) -> None:
    change(workdir, "{path: model}", "{name: smollm2-135m}")
    found = paretune("plan", "spec.yaml")
    assert found.exit_code == 0
    assert "warning: " in found.stderr


def test_an_override_and_the_filters_change_the_plan(workdir: Path) -> None:
    found = paretune("plan", "spec.yaml", "--json", "--set", "search.trials=5", "--method", "lora")
    made = json.loads(found.stdout)
    assert [(cell["cell"], cell["trials"]) for cell in made["cells"]] == [("sft-lora", 5)]


def test_a_planned_sweep_resumes_from_any_folder(workdir: Path) -> None:
    spec = read("spec.yaml", ["name=my"])
    sweep = Sweep.plan_spec(spec, RunOptions("some runs"), cli.best_trials)
    assert sweep.location.folder == workdir / "some runs" / "my"
    assert sweep.options.output == str(workdir / "some runs")


def test_online_tracking_without_a_key_is_refused_before_anything_is_written(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(workdir))
    found = paretune("run", "spec.yaml", "--set", "tracking.wandb=online")
    assert found.exit_code == 2
    assert "tracking.wandb: online is impossible: no API key" in found.stderr
    assert not (workdir / "runs").exists()


def test_try_runs_one_trial_in_this_process_and_writes_its_record(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = sweeps.write_spec(tmp_path, tiny_model)
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "cache"))
    found = paretune("try", spec, "--method", "lora", "--output", tmp_path / "out", "--set", "train.steps=3")
    assert found.exit_code == 0, found.output
    path = Path(found.stdout.strip().splitlines()[-1])
    assert path.is_relative_to(tmp_path / "out" / "tiny-try" / "trials")
    record = results.read_record(path.parent)
    assert record is not None
    assert (record.status, record.cell, record.steps) == ("done", "sft-lora", 3)
    assert record.peak_train_bytes is not None
    assert not (tmp_path / "runs").exists()
    assert (
        "rows.jsonl: completion format (detected from its columns: prompt, completion as response, system)"
        in found.stderr
    )
    assert "data rows.jsonl: 41 training, 12 validation and 7 test rows" in found.stderr


def test_a_trial_that_fails_under_try_ends_with_1_and_says_why(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = sweeps.write_spec(tmp_path, tiny_model)
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "cache"))
    # Its process takes seconds to start, and this trial has no memory of interest.
    unmeasured = Mock(**{"measure.return_value": {}})
    monkeypatch.setattr("sweeps.execution.local_trial.ParallelMeasurement", lambda threads: unmeasured)
    sets = (
        "--set",
        "train.learning_rate=1e30",
        "--set",
        "train.max_grad_norm=null",
        "--set",
        "train.steps=5",
    )
    found = paretune("try", spec, "--method", "full", "--output", tmp_path / "out", *sets)
    assert found.exit_code == 1
    assert " failed: " in found.stdout
    assert "NotFinite: grad_norm is nan at step 2" in found.stdout


@pytest.fixture
def two_runs(tmp_path: Path) -> tuple[Path, Path]:
    made = []
    for name in ("one", "two"):
        run = tmp_path / name
        for trial_id, method in (("a" * 12, "full"), ("b" * 12, "lora"), ("c" * 12, "base")):
            record = run_folders.record(f"{trial_id[:-1]}{name[0]}", method)
            folder = run / "trials" / record.trial_id
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
            results.write_record(folder, record)
        made.append(run)
    return made[0], made[1]


def test_a_report_of_one_run_is_written_and_its_path_printed(two_runs: tuple[Path, Path]) -> None:
    found = paretune("report", two_runs[0])
    assert found.exit_code == 0, found.output
    assert found.stdout == f"{two_runs[0]}/report/index.html\n"
    assert (two_runs[0] / "report" / "index.html").exists()


def test_one_report_of_two_runs_is_written(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    found = paretune("report", *two_runs, "--output", tmp_path / "both")
    assert found.exit_code == 0, found.output
    assert (tmp_path / "both" / "index.html").exists()


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_report_of_a_folder_that_is_no_run_ends_with_2(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    found = paretune("report", tmp_path / name)
    assert found.exit_code == 2
    assert name in found.stderr
    assert "Traceback" not in found.stderr


def test_a_report_does_not_replace_other_files(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    found = paretune("report", two_runs[0], "--output", tmp_path / "mine")
    assert found.exit_code == 2
    assert "thesis.tex" in found.stderr
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_the_doctor_prints_json_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    examine, places = report.examine, list[str]()

    def examined(output: str) -> report.Report:
        places.append(tempfile.gettempdir())
        return examine(output)

    monkeypatch.setattr(report, "examine", examined)
    found = paretune("doctor", "--json")
    # What torch's compiler leaves is in the folder for temporary files.
    assert private_folder.PREFIX in places[0]
    assert not Path(places[0]).exists()
    printed = json.loads(found.stdout)
    assert printed["works"] is (found.exit_code == 0)
    assert "Packages" in printed["topics"]


def test_temporary_files_of_a_trial_without_ray_are_removed(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[str] = []

    def run_one_trial(*arguments: object) -> int:
        places.append(tempfile.mkdtemp(suffix="wandb-media"))
        return 0

    monkeypatch.setattr("sweeps.commands.try_trial._run_one_trial", run_one_trial)
    assert paretune("try", "spec.yaml").exit_code == 0
    assert private_folder.PREFIX in places[0]
    assert not Path(places[0]).exists()


@pytest.mark.parametrize("command", [("run", "spec.yaml"), ("doctor",)])
def test_a_cluster_that_cannot_be_reached_is_a_message_and_ends_with_2(
    workdir: Path, command: tuple[str, ...]
) -> None:
    found = paretune(*command, "--address", "127.0.0.1:9")
    assert found.exit_code == 2
    assert found.stderr.startswith("--address: can't join the cluster 127.0.0.1:9: ")
    assert len(found.stderr.splitlines()) == 1
    assert not (workdir / "runs").exists()


def test_an_unknown_command_ends_with_2() -> None:
    assert paretune("rnu", "methods").exit_code == 2


def test_stop_waits_until_the_run_has_ended_and_only_as_long_as_it_was_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.commands.stop.MESSAGE_SECONDS", 0.3)
    files.write_json(tmp_path / "environment.json", {"plan": {"trials": {"sft-lora": 3}}})
    with lock.held(tmp_path):
        found = paretune("stop", tmp_path, "--wait", "1")
        assert found.exit_code == 1
        assert "its trials are saving themselves: process " in found.stderr
        assert "asked to stop, but still running after 1 s: process " in found.stderr
        waiting = threading.Thread(target=lambda: ended.append(paretune("stop", tmp_path)))
        ended: list[Result] = []
        waiting.start()
        waiting.join(1)
        assert ended == []
        assert lock.stop_requested(tmp_path)
    waiting.join(20)
    assert ended[0].stdout == "stopped; 3 of 3 trials to go\n"


def test_plan_warns_of_a_notice_that_is_too_short_for_a_checkpoint(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.planning.assessment.notice.checkpoint_bytes", lambda cell: 10 * 2**30)
    monkeypatch.setattr("trainables.system.disk_speed.write_speed", lambda folder: 2.0**30)
    found = paretune("plan", "spec.yaml", "--set", "resources.notice_seconds=5", "--json")
    warnings = [
        each["message"] for each in json.loads(found.stdout)["problems"] if "notice" in each["message"]
    ]
    assert [warning.split(":")[0] for warning in warnings] == ["sft-full", "sft-lora"]
    assert found.exit_code == 0
