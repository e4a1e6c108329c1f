"""The page of a run in a browser: a long table stays light, changes arrive, a point leads to its trial."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sweeps.ui.run_index import run_key
from tests.helpers import run_folders
from tests.helpers.small_ui_runs import write_runs
from tests.sweeps.ui.browser.conftest import Window
from tests.sweeps.ui.conftest import UiUnderTest
from trainables import results
from trainables.storage import files

pytestmark = pytest.mark.usefixtures("without_answers")

ROWS = "#trials tbody tr:not(.room)"


def write_trials(run: Path, count: int) -> None:
    """A run of many trials, of which each has another rank."""
    plan = {"trials": {"sft-lora": count + 1}}
    files.write_json(run / "environment.json", {"name": run.name, "plan": plan})
    for number in range(count):
        trial = f"{number:012x}"
        (run / "trials" / trial).mkdir(parents=True)
        config = {"method": {"kind": "lora", "rank": number}, "train": {"steps": 40}}
        record = run_folders.record(trial, config=config, objective=number / count, steps=40)
        results.write_record(run / "trials" / trial, record)


def test_of_many_trials_only_those_in_sight_are_made(ui: UiUnderTest, browser_page: Window) -> None:
    run = ui.runs / "long"
    write_trials(run, 300)
    page = browser_page.open(f"/runs/{run_key(str(run))}")
    page.locator(ROWS).first.wait_for()
    # On a busy machine, the first answer has the trials that could be read in time.
    page.locator("#trial-count", has_text="300 of 300 trials").wait_for()
    assert page.locator(ROWS).count() < 100
    page.click("th[data-column=objective] button")
    assert page.inner_text(f"{ROWS} >> nth=0").startswith(f"{299:012x}")
    page.evaluate("document.getElementById('trials-frame').scrollTop = 1e6")
    page.locator(ROWS, has_text=f"{0:012x}").wait_for()
    page.fill("#trial-search", f"{77:012x}")
    assert page.locator(ROWS).count() == 1


def test_a_trial_that_begins_and_ends_is_seen_without_a_reload(ui: UiUnderTest, browser_page: Window) -> None:
    run = ui.runs / "live"
    write_trials(run, 3)
    page = browser_page.open(f"/runs/{run_key(str(run))}")
    page.locator(ROWS).first.wait_for()
    new = run / "trials" / ("f" * 12)
    config = {"cell": "sft-lora", "method": {"kind": "lora", "rank": 99}, "train": {"steps": 40}}
    files.write_json(new / "config.json", config)
    (new / "curve.jsonl").write_text(json.dumps({"step": 7, "name": "train_loss", "value": 1.0}) + "\n")
    page.locator(ROWS, has_text="f" * 12).filter(has_text="7/40").wait_for()
    results.write_record(new, run_folders.failed("f" * 12, error="the loss is NaN", config=config))
    page.locator(ROWS, has_text="the loss is NaN").wait_for()
    assert "sft-lora " + "f" * 12 in page.inner_text("#problems")


def test_a_point_of_the_pareto_figure_leads_to_its_trial(ui: UiUnderTest, browser_page: Window) -> None:
    run = run_folders.example_run(ui.runs / "methods")
    page = browser_page.open(f"/runs/{run_key(str(run))}")
    page.locator("#pareto").scroll_into_view_if_needed()  # figures are drawn where they are seen
    point = page.locator("#pareto .scatterlayer .point").first
    point.wait_for()
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    page.locator("#pareto .hoverlayer", has_text="sft-full").wait_for()
    point.click(force=True)
    page.wait_for_url("**/trials/*")


def test_where_nothing_can_be_copied_the_command_is_selected(ui: UiUnderTest, browser_page: Window) -> None:
    """Browsers have no clipboard over plain http from another host."""
    run = write_runs(ui.runs)
    page = browser_page.open(f"/runs/{run.key}/trials/{run.trial}")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.click("button[data-copy=command-1]")
    page.wait_for_function("getSelection().toString() !== ''")
    assert page.evaluate("getSelection().toString()").strip() == page.inner_text("#command-1").strip()
    page.locator("#as-of", has_text=re.compile(r"As of \d\d:\d\d:\d\d")).wait_for()


def test_a_quality_is_in_percent_by_its_unit_or_has_the_reason_why_it_is_missing(
    ui: UiUnderTest, browser_page: Window
) -> None:
    run = write_runs(ui.runs)
    folder = run.folder / "trials" / run.trial
    record = results.read_record(folder)
    assert record is not None
    text = {
        "source": "b.txt", "rows": 9, "quality": None, "not_measured": "its loss is inf", "quality_name": "loss",
        "quality_unit": "nats per token", "quality_higher_is_better": False,
    }  # fmt: skip
    own = {"quality": 0.5, "quality_name": "my_score", "quality_unit": "fraction"}
    sets = {"general": results.SetRecord.model_validate(text)}
    results.write_record(folder, record.model_copy(update=own | {"sets": sets}))
    page = browser_page.open(f"/runs/{run.key}")
    page.locator(ROWS, has_text="Not measured: its loss is inf").wait_for()
    assert "general" in page.inner_text("#trials thead")
    browser_page.open(f"/runs/{run.key}/trials/{run.trial}")
    page.locator("#fact-quality", has_text="50.0 %").wait_for()
    # Of what was not measured the page gives the reason.
    assert page.inner_text("#unmeasured") == "Quality on general\nNot measured: its loss is inf"


def test_figures_are_drawn_once_they_are_in_sight(ui: UiUnderTest, browser_page: Window) -> None:
    run = write_runs(ui.runs, trials=12)
    page = browser_page.open(f"/runs/{run.key}")
    page.locator("#pareto").scroll_into_view_if_needed()
    page.locator("#pareto .js-plotly-plot").wait_for()
    assert page.locator("#parallel .js-plotly-plot").count() == 0
    page.locator("#parallel").scroll_into_view_if_needed()
    page.locator("#parallel .js-plotly-plot").wait_for()
