"""``--events``: progress, warnings and the result of a command, a line of JSON each, and its errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sweeps import cli
from sweeps.commands import json_events
from sweeps.commands.errors import users_errors
from sweeps.commands.json_events import command_events
from sweeps.commands.json_output import print_json
from tests.helpers.tiny_model import make_model
from trainables.models.folder import ModelError
from trainables.system.progress import report_progress


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_progress_of_a_kind_of_work_is_told_now_and_then_and_at_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_events, "PROGRESS_SECONDS", 60.0)
    with command_events(False) as events:
        assert events is not None
        for done in range(1, 101):
            report_progress("reading rows", done, 100)
        report_progress("generating answers", 1, 9)
        print("a library says something")
        events.result({"folder": "out"})
    written = capsys.readouterr()
    assert events_of(written.out) == [
        {"event": "progress", "what": "reading rows", "done": 1, "total": 100},
        {"event": "progress", "what": "reading rows", "done": 100, "total": 100},
        {"event": "progress", "what": "generating answers", "done": 1, "total": 9},
        {"event": "result", "folder": "out"},
    ]
    assert "a library says something" in written.err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ModelError("no such model"), 2, "no such model"),
        (FileNotFoundError(2, "No such file", "rows.jsonl"), 2, "rows.jsonl: No such file"),
        (KeyError("a bug"), 1, "KeyError: 'a bug'"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_an_error_is_the_last_event_with_the_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str, inside: bool
) -> None:
    def command() -> None:
        if inside:
            with command_events(False), users_errors():
                raise error
        with users_errors(), command_events(False):
            raise error

    with pytest.raises(KeyError if isinstance(error, KeyError) else typer.Exit):
        command()
    (event,) = events_of(capsys.readouterr().out)
    assert (event["event"], event["exit_code"]) == ("error", code)
    assert message in event["message"]


def test_json_alone_is_the_result_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with command_events(True) as events:
        assert events is not None
        report_progress("reading rows", 1, 2)
        events.progress("saving")
        events.result({"folder": "out"})
    assert json.loads(capsys.readouterr().out) == {"folder": "out"}


def test_a_name_that_is_no_utf8_is_escaped_in_events_and_results(capfdbinary: Any) -> None:
    with command_events(False) as events:
        assert events is not None
        events.result({"folder": "out-\udcff"})
    print_json({"folder": "out-\udcff"})
    first, rest = capfdbinary.readouterr().out.split(b"\n", 1)
    assert json.loads(first)["folder"] == json.loads(rest)["folder"] == "out-\udcff"


def test_a_child_process_cannot_write_between_the_events() -> None:
    script = (
        "import subprocess\nfrom sweeps.commands.json_events import command_events\n"
        "with command_events(False) as events:\n"
        "    subprocess.run(['echo', 'noise'])\n    events.result({})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == '{"event": "result"}\n'
    assert done.stderr == "noise\n"


def test_a_wrong_spec_of_try_is_an_event(workdir: Path) -> None:
    (workdir / "spec.yaml").write_text("name: a\nmodle: {}\n")
    found = CliRunner().invoke(cli.app, ["try", "spec.yaml", "--events"])
    assert found.exit_code == 2
    (event,) = events_of(found.stdout)
    assert event["event"] == "error"
    assert "spec.yaml:2 modle: unknown key. Did you mean model?" in event["message"]


def test_an_export_tells_what_it_does_and_what_it_wrote(workdir: Path) -> None:
    model = make_model(workdir / "model")
    found = CliRunner().invoke(cli.app, ["export", str(model), "out", "--no-verify", "--events"])
    assert found.exit_code == 0, found.output
    *progress, result = events_of(found.stdout)
    assert {event["event"] for event in progress} == {"progress"}
    assert result["event"] == "result"
    assert (result["folder"], result["dtype"]) == (str(workdir / "out"), "bfloat16")
    assert result["bytes"] > 0
    # The folder is there now.
    again = CliRunner().invoke(cli.app, ["export", str(model), "out", "--no-verify", "--events"])
    assert again.exit_code == 2
    assert events_of(again.stdout)[-1]["exit_code"] == 2
