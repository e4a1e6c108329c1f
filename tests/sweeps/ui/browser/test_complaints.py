"""What users of other UIs complain of: lost progress, pages that hang, the state of another run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sweeps.runs import lock
from sweeps.runs.layout import SIGNS
from tests.helpers import run_folders
from tests.helpers.followed_by_ui import add_steps, begin
from tests.helpers.path_proxy import proxied
from tests.helpers.small_ui_runs import write_runs
from tests.helpers.ui_server import served
from tests.sweeps.ui.browser.conftest import WAIT_MS, Window
from tests.sweeps.ui.conftest import UiUnderTest
from trainables import results
from trainables.storage import files

pytestmark = pytest.mark.usefixtures("without_answers")

HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_progress_and_curves_survive_a_reload_and_grow_without_one(
    ui: UiUnderTest, browser_page: Window
) -> None:
    run = write_runs(ui.runs, trials=2, steps=40)
    trial = "e" * 12
    with lock.held(run.folder):
        files.write_json(run.folder / SIGNS, {"trials": {trial: "training"}, "waits": []})
        folder = begin(run.folder, trial, 10)
        page = browser_page.open(f"/runs/{run.key}")
        row = page.locator(f"tr:has-text('{trial[:6]}')").first
        row.get_by_text("10", exact=False).first.wait_for()
        add_steps(folder, 11, 23)
        row.get_by_text("23", exact=False).first.wait_for()
        page.reload()
        row.get_by_text("23", exact=False).first.wait_for()
        page.locator("#curves").scroll_into_view_if_needed()  # figures are drawn where they are seen
        page.locator("#curves .js-plotly-plot").wait_for()


def test_a_trial_that_ran_out_of_memory_is_never_shown_as_running(
    ui: UiUnderTest, browser_page: Window
) -> None:
    run = write_runs(ui.runs, trials=2)
    trial = "e" * 12
    with lock.held(run.folder):
        # The sweep's signs are older than the record: they still say that it trains.
        files.write_json(run.folder / SIGNS, {"trials": {trial: "training"}, "waits": []})
        folder = begin(run.folder, trial, 3)
        config = json.loads((folder / "config.json").read_text())
        record = run_folders.failed(trial, config=config, status="out_of_memory", error="CUDA out of memory")
        results.write_record(folder, record)
        page = browser_page.open(f"/runs/{run.key}")
        row = page.locator(f"tr:has-text('{trial[:6]}')").first
        row.locator(".state-out_of_memory").wait_for()
        assert row.locator(".state-running").count() == 0


def test_the_page_of_a_run_shows_nothing_of_another_after_going_back_and_forth(
    ui: UiUnderTest, browser_page: Window
) -> None:
    first, second = write_runs(ui.runs, "alpha", trials=2), write_runs(ui.runs, "omega", trials=3)
    page = browser_page.open(f"/runs/{first.key}")
    page.locator("#trials tbody tr:not(.room)").first.wait_for()
    browser_page.open(f"/runs/{second.key}")
    page.locator("#trials tbody tr:not(.room)").nth(2).wait_for()
    page.go_back()
    page.locator("h1:has-text('alpha')").wait_for()
    page.locator("#trials tbody tr:not(.room)").nth(1).wait_for()
    browser_page.settle()
    assert page.locator("#trials tbody tr:not(.room):has-text('00000003')").count() == 0
    assert "omega" not in page.locator("main").inner_text()


def test_ten_open_pages_leave_connections_for_an_eleventh(ui: UiUnderTest, browser_page: Window) -> None:
    """Browsers have six connections for one server; pages that nobody sees give theirs back."""
    run = write_runs(ui.runs)
    context = browser_page.page.context
    for path in (*["/"] * 9, f"/runs/{run.key}"):
        other = context.new_page()
        other.goto(f"{browser_page.url}{path}", wait_until="commit")
        other.locator("table tbody tr:not(.room)").first.wait_for()
        other.evaluate(HIDE, True)
    browser_page.open("/jobs")
    last = context.pages[-1]
    last.evaluate(HIDE, False)
    begin(run.folder, "d" * 12, 3)
    last.locator("tr:has-text('dddddd')").first.wait_for()


def test_the_pages_work_behind_a_path_of_a_proxy(
    new_ui_under_test: Callable[..., UiUnderTest], chromium: Any
) -> None:
    ui = new_ui_under_test(root_path="/paretune")
    run = write_runs(ui.runs)
    with served(ui.state) as url, proxied(url, "/paretune") as address:
        context = chromium.new_context()
        context.set_default_timeout(WAIT_MS)
        page, wrong = context.new_page(), list[str]()
        page.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
        page.on(
            "request",
            lambda asked: (
                wrong.append(asked.url) if not asked.url.startswith((address, "data:", "blob:")) else None
            ),
        )
        page.goto(f"{address}/?token={ui.state.sessions.new_link()}")
        page.locator("#runs tbody a").first.click()
        page.locator("#trials tbody tr:not(.room)").first.wait_for()
        assert page.url == f"{address}/runs/{run.key}"
        for path in ("/new", "/chat", "/evaluate", "/export", "/memory", "/jobs"):
            page.goto(address + path)
            page.locator("h1").first.wait_for()
        page.locator("#language").select_option("zh")
        page.locator("html[lang=zh]").wait_for()
        context.close()
    assert not wrong
