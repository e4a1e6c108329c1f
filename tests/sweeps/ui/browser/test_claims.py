"""Claims in a browser: the form writes them into the text, and the page of a run says what the report answers."""

from __future__ import annotations

from sweeps.ui.drafts.store import DraftStore
from tests.helpers.small_ui_runs import write_runs
from tests.sweeps.ui.browser.conftest import NewWindow, Window, answered
from tests.sweeps.ui.conftest import UiUnderTest
from trainables.storage import files

SPEC = """name: a
model: {name: smollm2-135m}
data: {train: rows.jsonl}
stages: [{kind: sft}]
methods: [{kind: lora}, {kind: lisa}, {kind: full, train: {optimizer: {kind: muon}}}]
"""
WITHIN = "claims: [{kind: within, a: lora, b: lisa, margin: 0.02}]"


def test_a_claim_that_the_form_adds_stands_in_the_text_and_what_cannot_work_is_greyed_out(
    ui: UiUnderTest, browser_page: Window
) -> None:
    draft = DraftStore.at_home().create(SPEC, "a", "a test")
    reason = "not installed: pip install 'paretune[mlflow]'"
    rule = {"setting": "tracking.mlflow", "values": None, "when": {}, "reason": reason}
    answered(browser_page.page, "/new/unavailable", {"rules": [rule]})
    page = browser_page.open(f"/new/{draft.id}")
    part = page.locator("#form details.form-part").last
    part.locator("summary").click()
    part.locator("select").select_option("within")
    written = part.locator("[data-path='claims[0]'] input")
    written.wait_for()
    assert page.locator("#editor textarea").input_value() == f"{SPEC}{WITHIN}\n"
    written.fill("{kind: better, a: lora, b: full}")
    with page.expect_response(lambda answer: answer.url.endswith("/edit")):
        written.press("Enter")
    page.locator("[data-path='claims[0]'] label", has_text="better").wait_for()
    assert (
        page.locator("#editor textarea").input_value()
        == f"{SPEC}claims: [{{kind: better, a: lora, b: full}}]\n"
    )
    optimizer = page.locator("[data-path='methods[2].train.optimizer'] input")
    assert optimizer.input_value() == "{kind: muon}"
    add = page.locator("select.add-setting:has(option[value=mlflow])")
    # In one task of the browser: the form is made anew before the part's toggle event has come.
    add.evaluate(
        "list => { list.closest('details').querySelector('summary').click();"
        " list.value = 'mlflow'; list.dispatchEvent(new Event('change')); }"
    )
    field = page.locator("[data-path='tracking.mlflow']")
    field.locator("small.field-note[lang=en]", has_text=reason).wait_for()
    assert field.locator("input").is_disabled()


def test_the_page_of_a_run_says_what_the_report_answers_of_its_claims(
    ui: UiUnderTest, new_window: NewWindow
) -> None:
    run = write_runs(ui.runs)
    claim = {"outcome": "not settled", "sentence": "Not settled: lora is <b>better</b> than full."}
    files.write_json(run.folder / "report" / "report.json", {"answers": [], "claims": [claim]})
    window = new_window("zh")
    page = window.open(f"/runs/{run.key}")
    shown = page.locator("#answer .claims li")
    shown.wait_for()
    assert shown.inner_text() == "尚无定论 lora is <b>better</b> than full."
    # A report of an earlier version has no Chinese sentences: screen readers are told so.
    assert page.locator("#answer").get_attribute("lang") == "en"
    window.check()
