"""From an empty page to an exported model in a browser, with the real server, commands and Ray, on a tiny model."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.sweeps import PARETUNE, write_spec
from tests.helpers.ui_processes import Start, UiProcess
from tests.sweeps.ui.browser.conftest import WAIT_MS, Window, watch
from tests.sweeps.ui.conftest import OWN

pytestmark = pytest.mark.slow

SPEC = """\
name: rows
question: Does the whole way work?
model: {path: tiny}
data: {train: rows.jsonl, eval_fraction: 0.3, cutoff: 64}
stages: [{kind: sft}]
methods:
  - {kind: full}
  - {kind: lora, rank: 4}
train: {steps: 400, batch_size: 2, save_steps: 100, learning_rate: {log: [1.0e-4, 5.0e-3]}}
search: {trials: 2, sampler: random, scheduler: none}
finalists: {seeds: 1}
resources: {cpus: 1, concurrent: 1}
tracking: {wandb: off}
"""
ROWS = "#trials tbody tr:not(.room)"


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Ray's sockets are below the folder for temporary files, and have at most 107 characters."""
    with tempfile.TemporaryDirectory(prefix="way-") as folder:
        own = {"TMPDIR": folder, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
        yield own


def sign_in(browser: Any, ui: UiProcess, locale: str = "en-GB") -> Window:
    """A browser of its own, by a link of the UI."""
    context = browser.new_context(locale=locale, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(2 * WAIT_MS)
    window = Window(context.new_page(), ui.url)
    watch(window)
    window.open(ui.browser.post("/links", headers=OWN).json()["path"])
    return window


@pytest.mark.timeout(1800)
def test_from_an_empty_page_to_an_exported_model(
    start: Start,
    chromium: Any,
    tmp_path: Path,
    tiny_model: Path,
    environment: dict[str, str],
    request: pytest.FixtureRequest,
) -> None:
    ui = start(**environment)
    data, runs = tmp_path / "data", tmp_path / "runs"
    write_spec(data, tiny_model).unlink()
    shutil.copytree(tiny_model, data / "tiny")
    stop = [*PARETUNE, "stop", str(runs / "rows")]
    request.addfinalizer(lambda: subprocess.run(stop, env=ui.environment, capture_output=True, check=False))
    window = sign_in(chromium, ui)
    page = window.page
    draft_of_a_data_file(window)
    page.locator("textarea.code-text").fill(SPEC.replace("batch_size", "batch_sise"))
    page.locator("#problems button", has_text="batch_size").click()
    page.locator("#start-button:not([disabled])").click()
    page.wait_for_url("**/runs/*")
    page.locator("#log-panel summary").click()
    address = page.url
    sees(window, "#state.state-running")
    sees(window, f"{ROWS} progress")
    page.reload()
    sees(window, f"{ROWS} progress")
    second = sign_in(chromium, ui, "zh-CN")
    second.page.goto(address)
    second.page.locator(ROWS).first.wait_for()
    second.page.locator("#stop").click()
    second.page.locator("dialog button.danger").click()
    sees(window, "#state.state-stopped")
    second.page.locator("#state", has_text="已停止").wait_for()
    command = [*PARETUNE, "run", "rows.yaml", "--resume", "--output", str(runs)]
    resumed = subprocess.run(command, cwd=data, env=ui.environment, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    for each in (window, second):
        sees(each, "#state.state-done")
    assert page.locator(ROWS, has_text="done").count() >= 4
    run = f"run:{address.rpartition('/')[2]}"
    chat_with_two(window, run)
    export(window, run)
    assert (data / "exports" / "mine" / "model.safetensors").is_file()
    for each in (window, second):
        each.check()
        each.page.context.close()


def sees(window: Window, selector: str) -> None:
    """Waits for an element; where the run ends instead, or it does not come, the test says what the page shows."""
    page = window.page
    over = "#state.state-dead, #state.state-done"
    try:
        page.locator(selector).or_(page.locator(over)).first.wait_for()
    finally:
        shown = [
            page.inner_text(each)
            for each in ("#state", "#as-of", "#offline", "#reason", "#waits", "#problems", "#log")
        ]
        print(f"{selector}: {shown}, {window.faults}")
    assert page.locator(selector).count(), shown


def draft_of_a_data_file(window: Window) -> None:
    page = window.open("/new")
    page.locator("#data").fill("rows.jsonl")
    page.locator("#model").fill("tiny")
    page.locator("#from-data button").click()
    page.locator("#draft").wait_for()
    has_value(page, "textarea.code-text", re.compile("path: tiny.*train: rows.jsonl", re.DOTALL))


def chat_with_two(window: Window, run: str) -> None:
    page = window.open(f"/chat?model={run}:sft-full&model={run}:sft-lora")
    columns = page.locator("section.column")
    for place in range(2):
        columns.nth(place).get_by_role("button", name="Load", exact=True).click()
        columns.nth(place).locator(".head .state-done").wait_for()
    page.locator("details.settings summary").click()
    page.locator("#max_new_tokens").fill("4")
    page.locator("#prompt").fill("Wake me at six")
    page.locator("#send").click()
    for place in range(2):
        columns.nth(place).locator(".message.assistant:not(.cursor) p.facts:not([hidden])").wait_for()
        assert columns.nth(place).locator(".failed").count() == 0
        columns.nth(place).get_by_role("button", name="Unload").click()


def export(window: Window, run: str) -> None:
    page = window.open(f"/export?model={run}:sft-lora")
    has_value(page, "#model select >> nth=1", "sft-lora")
    page.locator("#out").fill("exports/mine")
    page.locator("#start").click()
    page.locator("#job .job-result", has_text="Verified").wait_for()
    page.locator("#start").click()
    page.locator("#job .error", has_text="exports/mine exists already").wait_for()


def has_value(page: Any, selector: str, value: str | re.Pattern[str]) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_value(value, timeout=WAIT_MS)
