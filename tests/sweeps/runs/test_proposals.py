"""What is proposed for a text that names no run and no spec."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sweeps import cli
from sweeps.runs.proposals import proposed_run
from tests.helpers import specs


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the spec home.yaml and the run folder runs/home; the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home.yaml").write_text(specs.SPEC.replace("tiny", "home"))
    (tmp_path / "runs" / "home" / "trials").mkdir(parents=True)
    return tmp_path


def paretune(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.mark.parametrize("command", ["plan", "data", "try", "run"])
def test_a_spec_without_its_ending_is_proposed_by_every_command_that_takes_one(
    workdir: Path, command: str
) -> None:
    found = paretune(command, "home")
    assert found.exit_code == 2
    assert "Did you mean home.yaml?" in found.stderr


@pytest.mark.parametrize(
    "command", ["status", "logs", "stop", "report", "settle", "chat", "export", "evaluate"]
)
def test_the_run_of_that_name_is_proposed_by_every_command_that_takes_one(
    workdir: Path, command: str
) -> None:
    found = paretune(command, "home", *(["out"] if command == "export" else []))
    assert found.exit_code == 2
    assert "Did you mean runs/home?" in found.stderr


def test_the_run_of_a_spec_is_proposed_for_the_spec_and_a_part_of_it_is_kept(workdir: Path) -> None:
    assert proposed_run("home.yaml") == ". Did you mean runs/home?"
    assert proposed_run("home:sft-lora") == ". Did you mean runs/home:sft-lora?"
    assert proposed_run("hoem") == ". Did you mean runs/home?"
    assert proposed_run("elsewhere") == ""


def test_the_only_spec_in_a_folder_is_proposed_and_that_of_a_run_is_the_one_as_written(workdir: Path) -> None:
    for name in ("spec.yaml", "resolved.yaml"):
        (workdir / "runs" / "home" / name).write_text("name: home\n")
    assert "Did you mean runs/home/spec.yaml?" in paretune("plan", "runs/home").stderr


def test_a_file_of_rows_is_no_spec_and_the_message_says_what_to_do_with_it(workdir: Path) -> None:
    (workdir / "rows.jsonl").write_text('{"prompt": "2 + 2?", "completion": "4"}\n')
    found = paretune("plan", "rows.jsonl")
    assert found.exit_code == 2
    assert "paretune init rows.jsonl writes one" in found.stderr
