"""What the system refuses is a sentence with the file and what to do, whichever command meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sweeps import cli
from sweeps.commands.errors import WRONG, users_errors
from tests.helpers import specs
from tests.helpers.paths import ROOT
from trainables.storage.home import home


def message(capsys: pytest.CaptureFixture[str], error: Exception) -> str:
    with pytest.raises(typer.Exit) as ended, users_errors():
        raise error
    assert ended.value.exit_code == WRONG
    return capsys.readouterr().err.strip()


def test_a_file_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    text = message(capsys, PermissionError(13, "Permission denied", "/data/out"))
    assert text == "/data/out: Permission denied; give a path that can be read and written"


@pytest.mark.parametrize("part", ["models/x", "."])
def test_where_the_own_folder_is_the_cause_its_variable_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "cache"))
    for path in (tmp_path / "cache" / part, tmp_path):
        text = message(capsys, OSError(30, "Read-only file system", str(path)))
        assert text.startswith(f"{path}: Read-only file system; set PARETUNE_HOME to a folder")
        assert str(tmp_path / "cache") in text


def test_a_user_without_a_home_folder_is_told_what_to_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("PARETUNE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(typer.Exit), users_errors():
        home()
    assert capsys.readouterr().err.startswith("this user has no home folder; set PARETUNE_HOME")


def test_an_own_sentence_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert message(capsys, FileNotFoundError("x: no trials here")) == "x: no trials here"


def test_an_error_without_a_file_says_how_to_see_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--debug" in message(capsys, OSError(24, "Too many open files"))


@pytest.mark.parametrize("place", ["/runs/tiny/spec.yaml", None])
def test_a_full_disk_is_said_with_the_file_and_what_is_kept(
    capsys: pytest.CaptureFixture[str], place: str | None
) -> None:
    error = OSError(28, "No space left on device", *([place] if place else []))
    text = message(capsys, error)
    assert text.startswith(
        f"{place or 'a folder that is written to'}: No space left on device; free some space there"
    )
    assert "--resume goes on" in text


def test_a_path_in_the_home_folder_of_nobody_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, users_errors():
        Path("~nobody-of-this-name/x").expanduser()
    assert ended.value.exit_code == WRONG
    assert "a path begins with ~" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="other"), users_errors():
        raise RuntimeError("other")


def test_output_that_nobody_reads_any_more_is_no_error_of_the_user() -> None:
    with pytest.raises(BrokenPipeError), users_errors():
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_a_command_works_without_a_home_folder_or_says_what_to_set(tmp_path: Path, home: str | None) -> None:
    specs.spec_folder(tmp_path)
    (tmp_path / "spec.yaml").write_text(specs.SPEC)
    left_out = ("HOME", "PARETUNE_HOME", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **({"HOME": home} if home else {})}
    command = [sys.executable, "-P", "-m", "sweeps.cli", "status", "nothing"]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.returncode == WRONG, found.stderr
    assert "nothing: no environment.json here" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    "command",
    [
        "run spec.yaml --output file/runs",
        "run spec.yaml --output file/runs --detach",
        "try spec.yaml --output file/runs",
        "init rows.jsonl --model model --output file/spec.yaml",
    ],
)
def test_an_output_folder_below_a_file_is_a_sentence_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(specs.spec_folder(tmp_path))
    (tmp_path / "spec.yaml").write_text(specs.SPEC)
    (tmp_path / "file").write_text("mine")
    found = CliRunner().invoke(cli.app, command.split())
    assert found.exit_code == WRONG, found.output
    assert "file" in found.stderr
    assert isinstance(found.exception, SystemExit)
    assert (tmp_path / "file").read_text() == "mine"
