"""Weights & Biases: the mode, chosen quickly and without a prompt; names and variables that would lead elsewhere; and
what the tracker sends of a run folder.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from sweeps.execution import run_folder
from sweeps.planning.checks import wandb_variables
from sweeps.planning.plan import Plan
from sweeps.runs.layout import read_environment
from sweeps.spec.problems import SpecError
from sweeps.spec.settings import TrackingConfig
from sweeps.spec.wandb_names import name_fault
from sweeps.tracking import connectivity, sweep_id
from sweeps.tracking.connectivity import choose_mode
from sweeps.tracking.recording import Trackers
from sweeps.tracking.supervision import TrackerProcess
from sweeps.tracking.trackers.wandb import WeightsAndBiases
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
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    return specs.plan(specs.spec_folder(folder), specs.SPEC, (f"tracking.wandb={wandb}",))


# Which mode


def test_without_a_key_auto_is_offline_and_says_why() -> None:
    mode, why = choose_mode("auto")
    assert mode == "offline"
    assert "no API key" in why
    assert "wandb sync" in why


def test_required_online_mode_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"tracking\.wandb: online is impossible: no API key"):
        Trackers(made(tmp_path, "online"), tmp_path / "run")


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nobody.invalid"])
def test_a_server_that_does_not_answer_makes_auto_offline_within_seconds(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", url)
    started = time.monotonic()
    mode, why = choose_mode("auto")
    assert time.monotonic() - started < 30
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
    assert time.monotonic() - started < 25


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
@pytest.mark.parametrize("mode", ["offline", "dryrun"])
def test_offline_mode_contacts_nobody(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(connectivity, "server_reachable", lambda: pytest.fail("it called"))
    assert choose_mode("offline")[0] == "offline"
    monkeypatch.setenv("WANDB_MODE", mode)
    assert choose_mode("auto")[0] == "offline"


# Names and variables


@pytest.mark.parametrize(
    ("key", "name", "what"),
    [
        (
            "project",
            "a:b",
            "W&B refuses the character : in the name of a project, got a:b. Did you mean a-b?",
        ),
        (
            "project",
            "team/llm",
            "the character / in the name of a project, got team/llm. Did you mean entity: team, project: llm?",
        ),
        ("project", "a/b/c", "Did you mean a-b-c?"),
        ("project", "'50% #1?'", "refuses the characters % # ? in"),
        ("project", "back\\slash", "refuses the character \\ in"),
        (
            "project",
            "é" * 129,
            f"takes at most 128 characters in the name of a project, got {'é' * 129}, which has 129",
        ),
        ("project", "' '", "needs a character other than space"),
        ("project", "'tests '", "refuses space at the beginning or end in the name of a project"),
        ("entity", "my/team", "refuses the character / in the name of an entity"),
        ("entity", "my team", "in the name of an entity, got my team. Did you mean my-team?"),
        ("entity", "''", "needs a character other than space in the name of an entity"),
    ],
)
def test_a_name_that_wandb_refuses_is_an_error_of_the_plan(
    tmp_path: Path, key: str, name: str, what: str
) -> None:
    plan = specs.plan(
        specs.spec_folder(tmp_path), specs.SPEC, ("tracking.wandb=auto", f"tracking.{key}={name}")
    )
    (error,) = plan.errors
    assert f"tracking.{key}: W&B" in str(error)
    assert what in str(error)


@pytest.mark.parametrize("name", ["paretune", "My project (2)", "проект", "a.b_c-d", "日本語", "é" * 128])
def test_a_name_that_wandb_takes_is_taken(tmp_path: Path, name: str) -> None:
    from wandb import Settings

    assert Settings(project=name).project == name
    plan = specs.plan(
        specs.spec_folder(tmp_path), specs.SPEC, ("tracking.wandb=auto", f"tracking.project={name}")
    )
    assert plan.errors == ()


@pytest.mark.parametrize("character", [chr(code) for code in range(33, 127)])
def test_the_characters_that_are_refused_are_those_of_wandb_itself(character: str) -> None:
    from wandb import Settings
    from wandb.errors import UsageError

    try:
        Settings(project=f"a{character}b")
    except UsageError:
        assert name_fault("project", f"a{character}b") is not None
    else:
        assert name_fault("project", f"a{character}b") is None


def test_a_name_does_not_matter_where_nothing_is_sent(tmp_path: Path) -> None:
    folder = specs.spec_folder(tmp_path)
    assert not specs.plan(folder, specs.SPEC, ("tracking.wandb=off", "tracking.project=a:b")).errors


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("WANDB_ENTITY", "my/team", "refuses the character / in the name of an entity"),
        ("WANDB_PROJECT", "a:b", "refuses the character : in the name of a project"),
        ("WANDB_TAGS", "one,," + "x" * 65, "a tag has 1 to 64 characters"),
        ("WANDB_BASE_URL", "wandb.example.org", "Did you mean https://wandb.example.org?"),
        ("WANDB_API_KEY", f"{'0' * 40} ", "W&B refuses a key that begins or ends with space"),
    ],
)
def test_variables_that_wandb_refuses_are_errors_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, what: str
) -> None:
    monkeypatch.setenv(name, value)
    errors = [str(error) for error in made(tmp_path, "auto").errors]
    assert errors
    assert all(error.startswith(f"environment {name}: ") for error in errors)
    assert what in errors[0]
    assert not made(tmp_path, "off").errors


AGENT = {
    "WANDB_SWEEP_ID": "abcd1234",
    "WANDB_RUN_ID": "other",
    "WANDB_RUN_GROUP": "others",
    "WANDB_JOB_TYPE": "agent",
    "WANDB_NAME": "other",
    "WANDB_RESUME": "must",
    "WANDB_SWEEP_PARAM_PATH": "/nowhere/config.yaml",
    "WANDB_SERVICE": "3-1-tcp-localhost-1",
    "WANDB_LAUNCH": "true",
    "WANDB_CONFIG": '{"train": {"steps": 1}}',
    "WANDB_X_LABEL": "other",
    "WANDB__PRIMARY": "false",
}
WISHES = {
    "WANDB_API_KEY": "0" * 40,
    "WANDB_BASE_URL": "https://wandb.example.org",
    "WANDB_ENTITY": "team",
    "WANDB_PROJECT": "ours",
    "WANDB_TAGS": "one,two",
    "WANDB_NOTES": "A note.",
    "WANDB_HTTP_TIMEOUT": "30",
    "WANDB_X_STATS_SAMPLING_INTERVAL": "5",
    "WANDB_CONFIG_DIR": "elsewhere",
    "HTTPS_PROXY": "http://proxy.example:3128",
}


def test_variables_of_another_run_are_left_out_and_wishes_are_kept() -> None:
    assert wandb_variables.of_another_run(AGENT | WISHES) == sorted(AGENT)


@pytest.mark.parametrize(
    ("settings", "entity", "project"),
    [
        ({}, "team", "ours"),
        ({"entity": "lab", "project": "theirs"}, "lab", "theirs"),
        ({"entity": "lab"}, "lab", "ours"),
    ],
)
def test_the_spec_comes_before_the_variables_of_entity_and_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], entity: str, project: str
) -> None:
    monkeypatch.setenv("WANDB_ENTITY", "team")
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    tracker = WeightsAndBiases.of(TrackingConfig.model_validate(settings), "online", "logged in")
    assert tracker.environment(tmp_path / "wandb", tmp_path, os.environ)["WANDB_ENTITY"] == entity
    assert tracker.destination == f"https://wandb.example.org/{entity}/{project}"


def test_every_setting_of_wandb_that_identifies_a_run_has_a_variable_that_is_left_out() -> None:
    from wandb import Settings

    parts = ("run_", "sweep_", "resume", "fork_", "launch", "job_", "program")
    identifying = [f"WANDB_{name.upper()}" for name in Settings.model_fields if name.startswith(parts)]
    assert len(identifying) > 10
    assert wandb_variables.of_another_run(dict.fromkeys(identifying, "")) == sorted(identifying)


def test_the_plan_says_which_variables_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [note for note in made(tmp_path, "offline").notes if "W&B" in note]
    monkeypatch.setenv("WANDB_SWEEP_ID", "abcd1234")
    monkeypatch.setenv("WANDB_RUN_ID", "other")
    (note,) = [note for note in made(tmp_path, "offline").notes if "W&B" in note]
    assert note.startswith("W&B: WANDB_RUN_ID, WANDB_SWEEP_ID of the environment are not used")
    assert "in the project paretune" in note
    assert not [note for note in made(tmp_path, "off").notes if "W&B" in note]


# Off


def test_off_starts_no_process_and_writes_no_file(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    trackers = Trackers(made(tmp_path, "off"), run)
    messages: list[str] = []
    with trackers.recording(messages.append):
        trackers.summarize()
    assert messages == []
    assert list(run.iterdir()) == []


def test_the_mode_that_nobody_asked_for_is_said_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrackerProcess, "start", lambda process: None)

    def said(text: str, sets: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        loud: list[str] = []
        quiet: list[str] = []
        trackers = Trackers(specs.plan(specs.spec_folder(folder), text, sets), folder)
        with trackers.recording(loud.append, "--resume", quiet.append):
            pass
        return loud, quiet

    loud, (line,) = said(specs.SPEC)
    assert loud == []
    assert line.startswith("W&B: offline, no API key on this machine")
    (line,), quiet = said(specs.SPEC, ("tracking.wandb=auto",))
    assert (line.startswith("W&B: offline, no API key"), quiet) == (True, [])


def test_the_driver_imports_no_wandb() -> None:
    code = (
        "import sys, reports.write, sweeps.cli, sweeps.execution.run_folder, sweeps.execution.launch;"
        "import sweeps.console.sweep_progress, sweeps.search.searcher;"
        "import sweeps.execution.slot, sweeps.tracking.recording; print('wandb' in sys.modules)"
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


def test_a_run_folder_is_recorded_until_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that ends well, one that fails, one that is interrupted and resumed in a second session.

    W&B's settings in the working folder or in the run are somebody else's: by `base_url` they could have the API key
    sent anywhere.
    """
    run = tmp_path / "run"
    for folder in (tmp_path / "wandb", run / "wandb", run / "wandb" / "own"):
        folder.mkdir(parents=True)
        (folder / "settings").write_text("[default]\nrun_notes = of somebody else\n")
    monkeypatch.chdir(tmp_path)
    plan = made(tmp_path, "offline")
    files.write_json(run / "environment.json", {"name": "methods", "plan": {}})
    ids = {name: name[0] * 12 for name in ("well", "failed", "again")}
    found = {name: run_folders.record(trial_id) for name, trial_id in ids.items()}
    found["failed"] = run_folders.failed(ids["failed"])
    messages: list[str] = []

    trackers = Trackers(plan, run)
    with trackers.recording(messages.append):
        trials = {name: add_trial(run, record) for name, record in found.items()}
        for folder in trials.values():
            add_points(folder, 1, 2)
        time.sleep(3)
        for name in ("well", "failed"):
            add_points(trials[name], 3)
            results.write_record(trials[name], found[name])
        results.write_record(trials["again"], found["again"].model_copy(update={"status": "interrupted"}))
        trackers.hurry()
        trackers.finish_seconds = 30
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

    with Trackers(plan, run).recording(messages.append):
        add_points(trials["again"], 3)
        results.write_record(trials["again"], found["again"])
    names = [path.name for path in (run / "wandb").glob("offline-run-*")]
    assert sum(name.endswith(ids["again"]) for name in names) == 2  # W&B joins them: one id
    assert len(names) == 4
    assert not any(b"somebody else" in path.read_bytes() for path in run.glob("wandb/*/*.wandb"))


def summarized(tmp_path: Path, run: Path) -> list[str]:
    """Records a finished run offline, with its summary; returns what the tracker said."""
    messages: list[str] = []
    trackers = Trackers(made(tmp_path, "offline"), run)
    with trackers.recording(messages.append):
        trackers.summarize()
    return messages


def test_a_run_whose_every_trial_failed_has_a_summary_without_a_front(tmp_path: Path) -> None:
    run = tmp_path / "run"
    files.write_json(run / "environment.json", {"name": "methods", "wandb_id": "a1b2c3"})
    failed = run_folders.failed("f" * 12, quality=None, peak_train_bytes=None)
    results.write_record(add_trial(run, failed), failed)
    results.write_tables(run)
    messages = summarized(tmp_path, run)
    assert len(messages) == 1, (run / "wandb" / "tracker.log").read_text()
    (summary,) = (reported for reported in wandb_runs(run).values() if reported.job_type == "summary")
    assert summary.artifacts["methods-a1b2c3-records"] == [
        "curves.parquet",
        "trials.parquet",
    ]


def test_in_the_environment_of_an_agent_each_trial_is_a_run_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in AGENT.items():
        monkeypatch.setenv(name, value)
    run = tmp_path / "run"
    files.write_json(run / "environment.json", {"name": "methods", "wandb_id": "a1b2c3"})
    records = [run_folders.record("a" * 12), run_folders.record("b" * 12)]
    for record in records:
        results.write_record(add_trial(run, record), record)
        add_points(run / "trials" / record.trial_id, 1)
    results.write_tables(run)
    messages = summarized(tmp_path, run)
    assert messages[1].startswith("W&B: WANDB_CONFIG, WANDB_JOB_TYPE, ")
    assert len(messages) == 2, (run / "wandb" / "tracker.log").read_text()
    assert {id_: one.job_type for id_, one in wandb_runs(run).items()} == {
        f"a1b2c3-{'a' * 12}": "sft-lora",
        f"a1b2c3-{'b' * 12}": "sft-lora",
        "a1b2c3-summary": "summary",
    }
    assert {(one.project, one.group, one.sweep) for one in wandb_runs(run).values()} == {
        ("paretune", "methods", "")
    }


def test_a_table_with_numbers_texts_and_null_in_a_setting_is_recorded(tmp_path: Path) -> None:
    run = tmp_path / "run"
    files.write_json(run / "environment.json", {"name": "methods"})
    changes = {"one": [4, None], "other": ["auto", 8], "third": [True, 0.5]}
    for method, values in changes.items():
        for number, value in enumerate(values):
            config = {"cell": f"sft-{method}", "train": {"max_grad_norm": value}}
            record = run_folders.record(
                f"{method}{number}", method, config=config, objective=0.1 * (1 - number)
            )
            results.write_record(add_trial(run, record), record)
    results.write_tables(run)
    messages = summarized(tmp_path, run)
    assert len(messages) == 1, (run / "wandb" / "tracker.log").read_text()


def test_a_longer_sweep_has_the_same_id_and_another_run_another(tmp_path: Path) -> None:
    """The id is made once and kept when the run is resumed; a run of an earlier version keeps what it had."""
    folder = specs.spec_folder(tmp_path)
    environments = {}
    for name, trials, resume in (("run", 2, False), ("run", 3, True), ("other", 2, False)):
        plan = specs.plan(folder, specs.SPEC, (f"search.trials={trials}",))
        run_folder.prepare(plan, tmp_path / name, resume)
        environments[name, trials] = found = read_environment(tmp_path / name) or {}
        assert found["rungs"] == {cell.name: list(cell.rungs) for cell in plan.cells}
    ids = {key: environment["wandb_id"] for key, environment in environments.items()}
    assert ids["run", 2] == ids["run", 3] != ids["other", 2]
    earlier = {name: value for name, value in environments["run", 2].items() if name != "wandb_id"}
    files.write_json(tmp_path / "run" / "environment.json", earlier)
    run_folder.prepare(specs.plan(folder, specs.SPEC, ("search.trials=4",)), tmp_path / "run", True)
    resumed = read_environment(tmp_path / "run") or {}
    assert resumed["wandb_id"] == sweep_id.read(tmp_path / "run", earlier)


def test_a_tracker_that_dies_is_reported_at_once_and_at_the_end_with_what_to_do(tmp_path: Path) -> None:
    run = tmp_path / "a run"
    files.write_json(run / "environment.json", {"name": "methods"})
    messages: list[str] = []
    trackers = Trackers(made(tmp_path, "offline"), run)
    with trackers.recording(messages.append, "paretune run my.yaml --resume"):
        process = trackers.processes[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while len(messages) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(messages) == 2
        assert messages[1].startswith("W&B tracking failed with exit code -9. The sweep continues without it")
        trackers.summarize()
    log = run / "wandb" / "tracker.log"
    assert messages[2:] == [
        "W&B tracking failed with exit code -9. To record what is missing: paretune run my.yaml --resume. To send "
        f"what was recorded: wandb sync '{run}/wandb'/offline-run-*; see {log}"
    ]


def test_the_reason_of_a_tracker_that_fails_is_in_the_first_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()  # without the environment.json that it reads
    messages: list[str] = []
    with Trackers(made(tmp_path, "offline"), run).recording(messages.append):
        deadline = time.monotonic() + 60
        while len(messages) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
    assert re.search(
        r"exit code 1 \(.*DamagedFile: .*environment\.json.*\)\. The sweep continues", messages[1]
    )


def test_uploads_that_take_too_long_are_reported_with_how_to_send_the_rest(tmp_path: Path) -> None:
    run = tmp_path / "run"
    files.write_json(run / "environment.json", {"name": "methods"})
    messages: list[str] = []
    trackers = Trackers(made(tmp_path, "offline"), run)
    trackers.finish_seconds = 0.01
    with trackers.recording(messages.append, "paretune run my.yaml --resume"):
        pass
    assert messages[1].startswith(
        "W&B tracking did not end within 0.01 s. To record what is missing: paretune run my.yaml --resume."
    )


def test_a_tracker_that_fails_does_not_affect_the_sweep_and_is_reported_in_one_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()  # without the environment.json that it reads
    messages: list[str] = []
    trackers = Trackers(made(tmp_path, "offline"), run)
    with trackers.recording(messages.append):
        time.sleep(0.1)
        trackers.summarize()
    assert "failed with exit code 1" in messages[-1]
    assert messages[-1].endswith("; see " + str(run / "wandb" / "tracker.log"))
