"""``paretune wandb``: what is refused before anything is sent, and runs that are written for `wandb sync`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeps import cli
from sweeps.runs import lock
from sweeps.tracking import connectivity
from sweeps.tracking.run_settings import tracking_of
from tests.helpers import followed_runs
from tests.helpers.sweeps import wandb_runs
from trainables import results
from trainables.storage import files
from trainables.storage.url_store import Store


@pytest.fixture(autouse=True)
def logged_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT", "WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return followed_runs.write(tmp_path / "runs" / "methods")


def called(*arguments: Any) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["wandb", *map(str, arguments)])
    return result.exit_code, result.output


def test_without_a_key_it_says_what_to_do_and_writes_nothing(run: Path) -> None:
    before = sorted(run.rglob("*"))
    code, output = called(run)
    assert code == 2
    assert "nothing can be sent: no API key on this machine (`wandb login`)" in output
    assert "--offline writes files for `wandb sync`" in output
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--project", "a:b"], "--project: W&B refuses the character : in the name of a project"),
        (["--entity", "my team"], "--entity: W&B refuses the character"),
        (["--project", ""], "--project: W&B needs a character other than space"),
    ],
)
def test_names_that_wandb_refuses_are_named_by_their_option(run: Path, options: list[str], what: str) -> None:
    code, output = called(run, "--offline", *options)
    assert (code, what in output) == (2, True), output


def test_what_is_no_run_or_has_no_trial_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    files.write_json(empty / "environment.json", {"name": "empty"})
    code, output = called(empty, "--offline")
    assert code == 2
    assert "no trial has begun here" in output
    assert called(tmp_path / "nowhere", "--offline")[0] == 2


def test_a_run_that_is_being_written_is_refused(run: Path) -> None:
    with lock.held(run):
        code, output = called(run, "--offline")
    assert code == 2
    assert "another run holds it" in output


def test_a_run_in_which_links_lead_elsewhere_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run / "wandb").mkdir()
    (run / "wandb" / "sent").symlink_to(tmp_path / "elsewhere")
    code, output = called(run, "--offline")
    assert (code, "sent is a link: files in the place it leads to" in output) == (2, True), output
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_run_is_held_while_it_is_sent(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str | None] = []

    def send(tracker: Any, folder: Path, log: Any, again: str) -> bool:
        found.append(lock.holder(folder))
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeps.tracking.sending.send", send)
    assert called(run, "--offline")[0] == 130
    assert f"process {os.getpid()} on" in str(found)
    assert lock.holder(run) is None


@pytest.mark.parametrize("mode", ["offline", "dryrun"])
def test_a_variable_that_keeps_wandb_offline_counts_as_the_option(
    run: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setattr("sweeps.tracking.sending.send", lambda tracker, *_: tracker.mode == "offline")
    code, output = called(run)
    assert (code, "W&B: offline, as requested" in output) == (0, True), output
    code, output = called("memory://bucket/methods")
    assert code == 2
    assert "environment WANDB_MODE: the files would be in a copy that is removed" in output


@pytest.mark.parametrize(("log_model", "fetched"), [(None, False), ("best", True)])
def test_the_models_of_a_run_at_a_url_are_fetched_only_where_they_are_sent(
    run: Path, monkeypatch: pytest.MonkeyPatch, log_model: str | None, fetched: bool
) -> None:
    setting = "" if log_model is None else f"tracking: {{log_model: {log_model}}}\n"
    files.write_text(run / "spec.yaml", f"name: methods\n{setting}")
    files.write_text(run / "trials" / followed_runs.WELL / "model" / "model.safetensors", "weights")
    store = Store(f"memory://{secrets.token_hex(4)}/methods")
    store.push(run, [str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()])
    found: list[bool] = []

    def send(tracker: Any, folder: Path, log: Any, again: str) -> bool:
        found.append(any(folder.glob("trials/*/model/*")))
        files.write_text(folder / "wandb" / "tracker.log", "An error.")
        return False

    monkeypatch.setattr("sweeps.tracking.sending.send", send)
    monkeypatch.setattr(connectivity, "obstacle", lambda: None)
    code, output = called(store.url)
    assert (code, found) == (1, [fetched]), output
    assert store.read("wandb/tracker.log") == b"An error."


def test_wandb_that_is_disabled_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    code, output = called(run, "--offline")
    assert code == 2
    assert "environment WANDB_MODE: it is disabled" in output


@pytest.mark.parametrize(
    ("tracking", "given", "variable", "project"),
    [
        ("", {}, None, "paretune"),
        ("", {}, "theirs", "theirs"),
        ("tracking: {project: ours, wandb: off}\n", {}, "theirs", "ours"),
        ("tracking: {project: ours}\n", {"project": "asked"}, "theirs", "asked"),
        ("tracking: [no section]\n", {}, None, "paretune"),
    ],
)
def test_the_project_is_the_options_then_the_specs_then_the_environments(
    run: Path, tracking: str, given: dict[str, str], variable: str | None, project: str
) -> None:
    from sweeps.planning.checks import wandb_variables

    files.write_text(run / "spec.yaml", f"name: methods\n{tracking}")
    found = tracking_of(run, {**given, "wandb": "online"})
    assert found.wandb == "online"
    environment = {} if variable is None else {"WANDB_PROJECT": variable}
    assert wandb_variables.project(found, environment) == project


def test_settings_of_the_command_line_count_as_those_of_the_spec(run: Path) -> None:
    files.write_text(run / "spec.yaml", "name: methods\ntracking: {project: ours}\n")
    files.write_json(
        run / "environment.json",
        {"name": "methods", "overrides": ["train.steps=4", "tracking.log_model=all"]},
    )
    found = tracking_of(run, {"wandb": "online"})
    assert (found.project, found.log_model) == ("ours", "all")


def test_offline_files_have_the_runs_of_all_trials_and_the_report(run: Path) -> None:
    (run / "report" / "summary.md").unlink()
    code, output = called(run, "--offline", "--project", "ours")
    assert code == 0, output + (run / "wandb" / "tracker.log").read_text()
    assert "W&B: offline, as requested" in output
    found = wandb_runs(run)
    ids = {f"{followed_runs.SWEEP_ID}-{trial}" for trial in (followed_runs.WELL, followed_runs.OTHER)}
    assert set(found) == ids | {
        f"{followed_runs.SWEEP_ID}-{followed_runs.FAILED}",
        f"{followed_runs.SWEEP_ID}-summary",
    }
    assert {one.project for one in found.values()} == {"ours"}
    assert found[f"{followed_runs.SWEEP_ID}-{followed_runs.WELL}"].config["sweep_id"] == "methods-a1b2c3"
    assert (run / "report" / "index.html").exists()
    assert results.tracker_pages(run) == {}


def test_what_keeps_wandb_away_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectivity, "server_reachable", lambda: pytest.fail("it called"))
    assert connectivity.obstacle() == "no API key on this machine (`wandb login`)"
