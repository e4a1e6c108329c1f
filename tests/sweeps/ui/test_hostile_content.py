"""Runs, files and values of others: their texts are shown as texts, their links not followed, their values not run."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import httpx
import pytest

from sweeps.ui.run_index import run_key
from tests.helpers import odd_runs
from tests.helpers.small_ui_runs import write_runs
from tests.helpers.ui_children import wait_for
from tests.helpers.ui_routes import HTML
from tests.helpers.ui_server import served
from tests.sweeps.ui.conftest import UiUnderTest

ODD_NAMES = (
    "<script>window.attacked=1<script>", "\"'><img src=x onerror=window.attacked=1>", "{{7*7}}", "--help", "-rf",
    "a\nb", "$(touch x)", "; touch x", "javascript:alert(1)", "\u202egnp.exe", "%2e%2e", "\x1b[31m", " ", "con.yaml",
    os.fsdecode(b"bad-\xff-bytes"), "汉字",
)  # fmt: skip
UNSAFE = re.compile(r"<script>window|<img src=x|<img[^>]*onerror|>49<|href=\"javascript:")


def odd_run(ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_TOKEN", odd_runs.SECRET)
    folder = odd_runs.write(ui.runs / ODD_NAMES[0])
    key = run_key(str(folder.absolute()))
    wait_for(lambda: ui.client.get(f"/runs/{key}", headers=HTML).status_code == 200)
    wait_for(lambda: ui.client.get(f"/runs/{key}/log", headers=HTML).status_code == 200)
    return key


def run_addresses(key: str) -> list[str]:
    """The addresses of everything that is shown of a run."""
    trials = [f"/runs/{key}/trials/{trial}" for trial in (odd_runs.TRIAL, odd_runs.BROKEN)]
    inner = [
        f"{trial}{part}"
        for trial in trials
        for part in ("", "/curves", "/samples", "/answers", "/error", "/state")
    ]
    own = [f"/runs/{key}{part}" for part in ("", "/curves", "/log", "/answer")]
    return [
        *own,
        *inner,
        f"/compare?run={key}&run={key}",
        f"/compare?trial={key}:{odd_runs.TRIAL}&trial={key}:{odd_runs.BROKEN}",
    ]


def test_texts_of_a_run_are_texts_on_its_pages(ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    key = odd_run(ui, monkeypatch)
    shown = 0
    for path in run_addresses(key):
        answer = ui.client.get(path, headers=HTML)
        assert answer.status_code in (200, 404, 503), path
        shown += answer.status_code == 200
        if answer.headers["content-type"].startswith("text/html"):
            assert not UNSAFE.search(answer.text), path
            assert "\x1b" not in answer.text, path
            assert "\u202e" not in answer.text, path
            for block in re.findall(r"<script[^>]*json[^>]*>(.*?)</script>", answer.text, flags=re.DOTALL):
                json.loads(block)
        else:
            assert answer.headers["content-type"].startswith(("application/json", "text/plain")), path
        assert odd_runs.SECRET not in answer.text, path
    assert shown > 5


def test_streams_of_a_run_carry_one_line_of_json_and_no_secret(
    ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = odd_run(ui, monkeypatch)
    with served(ui.state) as url, httpx.Client(base_url=url, timeout=20) as browser:
        browser.get(f"/?token={ui.state.sessions.new_link()}")
        for path in ("/events", f"/runs/{key}/events"):
            with browser.stream("GET", path) as stream:
                assert stream.headers["content-type"].startswith("text/event-stream")
                lines = stream.iter_lines()
                assert next(lines) == "event: state"
                data = next(lines)
                assert next(lines) == ""
            assert json.loads(data.removeprefix("data: "))
            assert odd_runs.SECRET not in data


def test_run_folders_of_any_name_are_listed(ui: UiUnderTest) -> None:
    for name in ODD_NAMES:
        write_runs(ui.runs, "plain", trials=1).folder.rename(ui.runs / name)
    entries = ui.state.runs.entries(now=True)
    assert {entry.name for entry in entries} == set(ODD_NAMES)
    with served(ui.state) as url, httpx.Client(base_url=url, timeout=20) as browser:
        browser.get(f"/?token={ui.state.sessions.new_link()}")
        for entry in entries:
            answer = browser.get(f"/runs/{entry.key}", headers=HTML)
            assert answer.status_code == 200, (entry.name, answer.text)
            assert not UNSAFE.search(answer.text), entry.name
        with browser.stream("GET", "/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: state"
            assert len(json.loads(next(lines).removeprefix("data: "))["runs"]) == len(ODD_NAMES)


def test_numbers_that_json_does_not_have_break_no_page(ui: UiUnderTest) -> None:
    run = write_runs(ui.runs)
    trial = run.folder / "trials" / run.trial
    with (trial / "curve.jsonl").open("a") as curve:
        curve.write(
            '{"step": 9, "name": "train_loss", "value": NaN}\n{"step": 1e400, "name": 3}\n[]\nnothing\n\x00\n'
        )
    (run.folder / "environment.json").write_text(
        '{"name": NaN, "question": [], "plan": {"trials": {"a": Infinity}}}'
    )
    with served(ui.state) as url, httpx.Client(base_url=url, timeout=20) as browser:
        browser.get(f"/?token={ui.state.sessions.new_link()}")
        assert browser.get(f"/runs/{run.key}", headers=HTML).status_code == 200
        assert browser.get(f"/runs/{run.key}/curves").status_code in (200, 503)
        with browser.stream("GET", f"/runs/{run.key}/events") as stream:
            assert next(stream.iter_lines()) == "event: state"


@pytest.mark.parametrize("damage", ["", "{", "[]", "\0", "{}" * 100_000, "[" * 100_000, "\ud800"])
@pytest.mark.parametrize(
    "name", ["environment.json", "trials/000000000002/record.json", "trials/000000000002/config.json"]
)
def test_a_damaged_file_of_a_run_is_no_error_of_the_server(ui: UiUnderTest, name: str, damage: str) -> None:
    run = write_runs(ui.runs, trials=3)
    (run.folder / name).write_bytes(damage.encode("utf-8", "surrogatepass"))
    for path in (f"/runs/{run.key}", f"/runs/{run.key}/trials/000000000002", f"/runs/{run.key}/curves"):
        assert ui.client.get(path, headers=HTML).status_code in (200, 404, 503), path


SECRET_FILE = "root:x:0:0 a secret of the machine"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that no page may show."""
    file = tmp_path / "outside" / "secret.html"
    file.parent.mkdir()
    file.write_text(SECRET_FILE)
    return file


def test_links_out_of_a_run_are_not_followed(ui: UiUnderTest, outside: Path) -> None:
    run = write_runs(ui.runs)
    report, trial = run.folder / "report", run.folder / "trials" / run.trial
    report.mkdir()
    (report / "index.html").symlink_to(outside)
    (report / "inner").symlink_to(outside.parent)
    (run.folder / "driver.log").symlink_to(outside)
    for name in ("error.txt", "predictions.parquet", "log.txt", "samples.jsonl"):
        (trial / name).unlink(missing_ok=True)
        (trial / name).symlink_to(outside)
    trial_page = f"/trials/{run.trial}"
    parts = (
        "/report/index.html",
        "/report/inner/secret.html",
        "/log",
        "",
        trial_page,
        f"{trial_page}/samples",
    )
    for path in (f"/runs/{run.key}{part}" for part in parts):
        assert SECRET_FILE not in ui.client.get(path, headers=HTML).text, path


def test_a_run_whose_report_folder_is_a_link_shows_nothing_of_it(ui: UiUnderTest, outside: Path) -> None:
    run = write_runs(ui.runs)
    (run.folder / "report").symlink_to(outside.parent)
    answer = ui.client.get(f"/runs/{run.key}/report/secret.html", headers=HTML)
    assert answer.status_code in (403, 404)
    assert SECRET_FILE not in answer.text


def test_reports_are_sandboxed(ui: UiUnderTest) -> None:
    run = write_runs(ui.runs)
    (run.folder / "report").mkdir()
    (run.folder / "report" / "index.html").write_text("<script>parent.attacked = 1</script>")
    policy = ui.client.get(f"/runs/{run.key}/report/index.html", headers=HTML).headers[
        "content-security-policy"
    ]
    assert policy.startswith("sandbox ")
    assert "allow-same-origin" not in policy
    assert "allow-top-navigation" not in policy
