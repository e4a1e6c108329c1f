"""Values in requests: none is run, taken for an option, or leads out of a folder; opening pages changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sweeps.ui.pages import evaluate, export
from tests.helpers.small_ui_runs import write_runs
from tests.helpers.ui_children import wait_for
from tests.helpers.ui_routes import HTML, UNASKED
from tests.sweeps.ui.conftest import OWN, UiUnderTest


def contents(*folders: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() if path.is_file() else b""
        for folder in folders
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts and not path.is_symlink()
    }


def get_addresses(ui: UiUnderTest, key: str, trial: str) -> Iterator[str]:
    names = {"key": key, "run": key, "trial": trial}
    for route in ui.client.app.routes:  # type: ignore[attr-defined]
        if "GET" in (getattr(route, "methods", None) or ()) and not route.path.endswith(UNASKED):
            yield re.sub(r"\{(\w+)[^}]*\}", lambda match: names.get(match[1], "x"), route.path)


def test_opening_pages_changes_nothing_in_the_folders(ui: UiUnderTest) -> None:
    run = write_runs(ui.runs)
    (ui.data / "rows.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    before = contents(ui.runs, ui.data)
    for path in get_addresses(ui, run.key, run.trial):
        answer = ui.client.get(path, headers=HTML)
        assert answer.status_code < 500 or answer.status_code == 503, path
        ui.client.head(path, headers=HTML)
    assert contents(ui.runs, ui.data) == before
    assert not ui.state.jobs.list()


VALUES = (
    "--help", "-x", "a; touch PLACE", "$(touch PLACE)", "`touch PLACE`", "a\ntouch PLACE", "| touch PLACE",
    "\0", "../../etc/passwd",
)  # fmt: skip


def test_no_value_of_a_request_is_run_or_taken_for_an_option(
    ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each value stands in every place of every request that starts something; what is started is looked at instead."""
    run, place, started = write_runs(ui.runs), tmp_path / "touched", list[list[str]]()

    def start(kind: str, argv: list[str], *rest: Any, **more: Any) -> Any:
        started.append(argv)
        raise OSError("not in this test")

    monkeypatch.setattr(ui.state.jobs, "start", start)
    ui.client._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
    wait_for(lambda: ui.client.get(f"/runs/{run.key}/curves").status_code == 200)
    for value in (each.replace("PLACE", str(place)) for each in VALUES):
        for path, body in bodies(run.key, run.trial, value):
            ui.client.post(path, json=body, headers=OWN)
    assert started, "nothing was started: the requests of this test are no longer those of the pages"
    for argv in started:
        check_arguments(argv)
    # The attacks on options have come as far as the options: a refused model would hide them all.
    assert {word.partition("=")[0] for argv in started for word in argv} >= {"--by", "--scorer", "--push"}
    assert not place.exists()


EVALUATE = (*evaluate.ROWS, *evaluate.ANSWERS, *evaluate.FURTHER, *evaluate.OUTPUT)
EXPORT = (*export.FIRST, *export.FILES, *export.HUB)
PATHS = ("--data", "--forgetting", "--benchmark-folder", "--output", "--template", "--llama-cpp")


def bodies(key: str, trial: str, value: str) -> Iterator[tuple[str, dict[str, Any]]]:
    actions = f"/runs/{key}/actions"
    for action in ("stop", "resume", "report", "stop-trial", quote(value, safe="")):
        yield f"{actions}/{action}", {"start": True, "trial": value, "sets": [value]}
    for sets in ([value], [f"{value}=1"], [f"train.steps={value}"], [f"{value}.{value}={value}"]):
        yield f"{actions}/add", {"start": True, "trial": trial, "sets": sets}
    yield "/reports", {"runs": [value, key]}
    model = f"run:{key}:{trial}"
    for chosen in (f"run:{key}:{value}", f"run:{value}", f"folder:{value}", f"base:{value}", value):
        yield "/evaluate", {"model": chosen, "options": {}}
        yield "/evaluate", {"model": model, "other": chosen, "options": {}}
        yield "/export", {"model": chosen, "out": "out", "options": {}}
    # Each option by itself: a refusal of one would hide the others.
    for option in EVALUATE:
        yield "/evaluate", {"model": model, "options": {option: value}}
    for option in EXPORT:
        yield "/export", {"model": model, "out": "out", "options": {option: value}}
    yield "/export", {"model": model, "out": value, "options": {}}


def check_arguments(argv: list[str]) -> None:
    """Words of other people are operands after ``--`` or stand after an option's ``=``, or after ``--set``."""
    operands = argv[argv.index("--") + 1 :] if "--" in argv else []
    options = argv[: argv.index("--")] if "--" in argv else argv
    for position, word in enumerate(options):
        if word in ("--help", "-x"):
            assert position > 0, argv
            assert options[position - 1] in ("--set", "--output"), argv
        assert "\0" not in word, argv
        flag, _, value = word.partition("=")
        assert flag not in PATHS or ".." not in value, argv
    assert all("\0" not in word for word in operands)


@pytest.mark.parametrize(
    "name", ["a\r\nX-Evil: 1", 'x"; filename=evil.exe', "../../evil", "\u202e.yaml", "a" * 3000, ""]
)
def test_names_of_downloads_add_no_header(ui: UiUnderTest, name: str) -> None:
    headers = {**OWN, "content-type": "application/octet-stream"}
    answer = ui.client.post("/new/upload", params={"name": name}, content=b"# a spec\n", headers=headers)
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 200:
        download = ui.client.get(f"{answer.json()['path']}/spec.yaml")
        assert download.text == "# a spec\n"
        assert "x-evil" not in download.headers
        disposition = download.headers["content-disposition"]
        assert disposition.count("filename") == 1
        assert re.fullmatch(r'attachment; filename="?[\w.-]+"?', disposition)


def test_an_uploaded_file_stays_in_the_data_folder(ui: UiUnderTest, tmp_path: Path) -> None:
    kept = ui.data / "rows.jsonl"
    kept.write_text("mine")
    before = contents(tmp_path)
    headers = {**OWN, "content-type": "application/octet-stream"}
    for name in (
        "../evil.jsonl",
        "/tmp/evil.jsonl",
        "..",
        "",
        ".bashrc",
        "a\0.jsonl",
        "a/b.jsonl",
        "..\\evil.jsonl",
        "rows.jsonl",
    ):
        ui.client.post("/new/data", params={"name": name}, content=b"theirs", headers=headers)
    written = [
        Path(path) for path, text in contents(tmp_path).items() if path not in before and text == b"theirs"
    ]
    assert kept.read_text() == "mine"
    assert {path.parent for path in written} <= {ui.data}
    assert not [path for path in written if path.name.startswith(".") or "evil" in path.name]
