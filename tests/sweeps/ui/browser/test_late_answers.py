"""What a person does while an answer of the server is under way: it comes late, and nothing is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sweeps.runs import lock
from sweeps.runs.layout import SIGNS
from sweeps.ui.drafts.store import DraftStore
from tests.helpers.followed_by_ui import add_steps, begin
from tests.helpers.small_ui_runs import write_runs
from tests.sweeps.ui.browser.conftest import Window, answered
from tests.sweeps.ui.conftest import UiUnderTest
from trainables.storage import files

SPEC = """name: a
model: {name: smollm2-135m}
data: {train: rows.jsonl}
stages: [{kind: sft}]
methods: [{kind: lora}]
train: {steps: 5, batch_size: 2}
"""
# Whether a curve of the figure has a step.
IN_CURVES = """(step) => [...document.querySelectorAll("#curves .js-plotly-plot, #curves.js-plotly-plot")]
  .some((figure) => figure.data.some((curve) => curve.x.includes(step)))"""


def test_a_change_of_the_form_that_comes_late_takes_nothing_that_is_typed_and_is_in_what_is_started(
    browser_page: Window,
) -> None:
    page, late, started = browser_page.page, list[Any](), list[Any]()
    draft = DraftStore.at_home().create(SPEC, "a", "a test")
    answered(page, "/new/unavailable", {"rules": []})
    answered(page, "/check$", {"cells": [], "problems": []})
    answered(page, "/started/", {"job": {"state": "failed"}, "log": "", "known": False})
    page.route(re.compile("/edit$"), lambda route: late.append(route))

    def start(route: Any) -> None:
        started.append(DraftStore.at_home().get(draft.id).text)
        route.fulfill(json={"job": "0" * 16, "run": "0" * 12, "existed": False})

    page.route(re.compile("/start$"), start)
    browser_page.open(f"/new/{draft.id}")
    steps, batch = (page.locator(f"[data-path='train.{name}'] input") for name in ("steps", "batch_size"))
    steps.fill("7")
    with page.expect_request("**/edit"):
        batch.fill("12")
    batch.press("End")
    late.pop().continue_()
    page.wait_for_function("() => document.querySelector('#editor textarea').value.includes('steps: 7')")
    page.wait_for_timeout(100)
    assert batch.input_value() == "12"
    assert batch.evaluate("input => input === document.activeElement")
    page.keyboard.type("8")
    with page.expect_request("**/edit"):
        page.locator("#start-button:not([disabled])").click()
    page.wait_for_timeout(500)
    assert not started, "the last change is not in the text yet"
    late.pop().continue_()
    page.locator("#start-said.error:not([hidden])").wait_for()
    assert "steps: 7, batch_size: 128" in started[0]
    assert not late


def test_what_is_selected_or_typed_in_the_form_outlives_late_answers_and_one_entry_is_removed_at_a_time(
    browser_page: Window,
) -> None:
    page, late = browser_page.page, list[Any]()
    text = SPEC.replace("{kind: lora}", "{kind: lora}, {kind: full}, {kind: freeze}")
    draft = DraftStore.at_home().create(text, "a", "a test")
    answered(page, "/new/unavailable", {"rules": []})
    answered(page, "/check$", {"cells": [], "problems": []})
    page.route(re.compile("/edit$"), lambda route: late.append(route))
    browser_page.open(f"/new/{draft.id}")
    written = "part => document.querySelector('#editor textarea').value.includes(part)"

    def answer() -> None:
        while not late:
            page.wait_for_timeout(20)
        late.pop().continue_()

    page.locator("[data-path='train.steps'] input").fill("7")
    batch = page.locator("[data-path='train.batch_size'] input")
    batch.select_text()
    answer()
    page.wait_for_function(written, arg="steps: 7")
    page.keyboard.type("8")
    assert batch.input_value() == "8"

    page.locator("[data-path='data.eval_fraction'] input").fill("0.2")
    answer()
    rate = page.locator("[data-path='train.learning_rate']")
    rate.locator("select.way").select_option("log")
    rate.locator("input").nth(0).fill("1e-5")
    rate.locator("input").nth(1).fill("1e-3")
    answer()
    page.wait_for_function(written, arg="eval_fraction: 0.2")
    assert [rate.locator("input").nth(place).input_value() for place in (0, 1)] == ["1e-5", "1e-3"]
    assert rate.locator("input").nth(1).evaluate("input => input === document.activeElement")
    rate.locator("input").nth(1).press("Tab")
    answer()
    page.wait_for_function(written, arg="learning_rate: {log: [1e-5, 1e-3]}")

    page.get_by_role("button", name="Remove lora").click()
    page.get_by_role("button", name="Remove full").click(force=True)
    answer()
    page.wait_for_function(written, arg="methods: [{kind: full}, {kind: freeze}]")
    page.wait_for_function("() => !document.getElementById('form').inert")
    assert not late


@pytest.mark.usefixtures("without_answers")
def test_a_press_on_a_link_that_a_push_comes_between_opens_it_and_the_last_push_is_in_the_curves(
    ui: UiUnderTest, browser_page: Window
) -> None:
    run = write_runs(ui.runs, trials=2)
    trial = "e" * 12
    with lock.held(run.folder):
        files.write_json(run.folder / SIGNS, {"trials": {trial: "training"}, "waits": []})
        folder = begin(run.folder, trial, 10)
        page = browser_page.open(f"/runs/{run.key}")
        page.locator("#curves").scroll_into_view_if_needed()  # figures are drawn where they are seen
        page.locator("#curves .js-plotly-plot").wait_for()
        page.wait_for_function(IN_CURVES, arg=10)
        add_steps(folder, 11, 23)
        row = page.locator("#trials tr", has_text=trial)
        row.get_by_text("23/40").wait_for()
        page.wait_for_function(IN_CURVES, arg=23)
        row.locator("a").scroll_into_view_if_needed()
        row.locator("a").hover()
        page.mouse.down()
        add_steps(folder, 24, 30)
        row.get_by_text("30/40").wait_for()
        page.mouse.up()
        page.wait_for_url(f"**/trials/{trial}")
