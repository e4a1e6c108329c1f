"""Every page in a browser: no errors, nothing wider than the window, reachable by keyboard, in both languages."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from sweeps.ui.pages import home
from sweeps.ui.run_index import run_key
from tests.helpers import odd_runs
from tests.helpers.small_ui_runs import write_runs
from tests.helpers.ui_children import write_job
from tests.sweeps.ui.browser.conftest import NewWindow, Window, answered
from tests.sweeps.ui.conftest import UiUnderTest

PAGES = (
    "/",
    "/new",
    "/chat",
    "/evaluate",
    "/export",
    "/memory",
    "/jobs",
    "/runs/KEY",
    "/runs/KEY/trials/TRIAL",
    "/compare?run=KEY&run=OTHER",
)
# Of these, some load for a while, and some are for a moment: they are looked at without going through them by keyboard.
FURTHER = ("/new/DRAFT", "/jobs/JOB", "/sign-in", "/nothing")
# What is wider than the window and is not within something that scrolls by itself.
WIDER = """() => {
  const scrolls = (element) => {
    for (let each = element.parentElement; each; each = each.parentElement)
      if (/(auto|scroll|hidden|clip)/.test(getComputedStyle(each).overflowX)) return true;
    return false;
  };
  const width = document.documentElement.clientWidth;
  return [...document.querySelectorAll("body *")]
    .filter((each) => each.getBoundingClientRect().right > width + 1 && !scrolls(each))
    .map((each) => `${each.tagName}.${each.className}#${each.id}: ${each.getBoundingClientRect().right} of ${width}`)
    .slice(0, 5);
}"""


def addresses(ui: UiUnderTest, paths: Sequence[str] = PAGES) -> list[str]:
    run, other = write_runs(ui.runs), write_runs(ui.runs, "other", trials=3)
    names = {"KEY": run.key, "TRIAL": run.trial, "OTHER": other.key}
    if FURTHER[0] in paths:
        path = ui.post("/new", {"from": "spec", "name": "methods"}).json()["path"]
        names |= {"/new/DRAFT": path, "JOB": write_job(ui.state.jobs.folder, title="methods " * 12)}
    for name, value in names.items():
        paths = [path.replace(name, value) for path in paths]
    return list(paths)


@pytest.mark.parametrize(
    ("language", "scheme", "width"),
    [
        ("en", "light", 1280),
        ("zh", "dark", 390),
        pytest.param("zh", "light", 1280, marks=pytest.mark.slow),
        pytest.param("en", "dark", 390, marks=pytest.mark.slow),
    ],
)
def test_no_page_has_an_error_or_is_wider_than_the_window(
    ui: UiUnderTest, new_window: NewWindow, language: str, scheme: str, width: int
) -> None:
    paths = addresses(ui, (*PAGES, *FURTHER))
    window = new_window(language, color_scheme=scheme, viewport={"width": width, "height": 900})
    answered(window.page, "/new/unavailable", {"rules": []})
    for path in paths:
        window.open(path)
        if path.startswith("/new/"):
            # Its plan and what doctor says of the machine take as long as those.
            window.page.locator("#form .form-field").first.wait_for()
        else:
            window.settle()
        assert window.page.locator("h1").first.is_visible(), path
        assert window.page.evaluate(WIDER) == [], path
        assert not window.faults, (path, window.faults)
        assert window.page.evaluate("document.documentElement.lang") == language
    window.check()


FOCUSED = """() => {
  const found = document.activeElement;
  if (!found || found === document.body) return null;
  const style = getComputedStyle(found);
  if (!found.dataset.seenByTab) found.dataset.seenByTab = "1"; else return "again";
  const visible = style.outlineStyle !== "none" || style.boxShadow !== "none" || found.id === "content";
  return {visible, name: `${found.tagName}#${found.id}.${found.className} ${found.textContent.slice(0, 30)}`};
}"""
REACHABLE = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
  .filter((each) => each.checkVisibility({visibilityProperty: true}) && !each.disabled && each.tabIndex >= 0)
  .filter((each) => each.type !== "radio" && !each.dataset.seenByTab)
  .filter((each) => !each.closest("dialog:not([open]), [inert], details:not([open]) > :not(summary)"))
  .map((each) => `${each.tagName}#${each.id}.${each.className} ${each.textContent.slice(0, 30)}`)"""


def test_tab_reaches_everything_that_can_be_used_and_shows_where_it_is(
    ui: UiUnderTest, browser_page: Window
) -> None:
    for path in addresses(ui):
        if path.startswith("/runs/"):
            continue
        page = browser_page.open(path)
        if path == "/":
            page.locator("#runs tbody tr").first.wait_for()  # the list's controls come with it
        browser_page.settle()
        for _ in range(250):
            page.keyboard.press("Tab")
            focused = page.evaluate(FOCUSED)
            if focused is None or focused == "again":
                break
            assert focused["visible"], (path, focused)
        assert page.evaluate(REACHABLE) == [], path


def test_a_dialog_keeps_the_focus_and_gives_it_back(ui: UiUnderTest, browser_page: Window) -> None:
    write_runs(ui.runs)
    page = browser_page.open("/")
    page.locator("#runs tbody tr").wait_for()
    page.locator("#add").focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open]").wait_for()
    for _ in range(8):
        # Between the last and the first element of a dialog, the focus is on nothing of the page.
        within = "document.activeElement.closest('dialog[open], body > :not(dialog)')?.tagName"
        assert page.evaluate(within) in ("DIALOG", None)
        page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.id") == "add"


def test_the_list_of_runs_says_what_is_late_and_when_the_server_is_gone(
    ui: UiUnderTest, browser_page: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "LATE_SECONDS", -1.0)  # each look is late
    write_runs(ui.runs)
    page = browser_page.open("/")
    page.locator("#runs tbody tr .facts.late", has_text=re.compile(r"As of \d\d:\d\d:\d\d")).wait_for()
    assert not page.locator("#offline").is_visible()
    page.route(re.compile("/events$"), lambda route: route.abort())
    page.reload()
    page.locator("#offline:not([hidden])").wait_for()
    page.unroute_all()
    page.locator("#offline[hidden]").wait_for(state="attached")  # it connects again by itself
    page.locator("#runs tbody tr").wait_for()
    browser_page.faults.clear()  # the browser says that a connection failed


def test_the_interval_of_a_comparison_is_that_of_the_difference_it_states(
    ui: UiUnderTest, browser_page: Window
) -> None:
    run = write_runs(ui.runs)
    worse, better = "000000000001", "000000000003"
    page = browser_page.open(f"/compare?trial={run.key}:{worse}&trial={run.key}:{better}")
    page.wait_for_function(
        """() => document.querySelector("#tests li") || document.querySelector("#refused").textContent
          || !document.querySelector("#tests-state").textContent.startsWith("Being computed")"""
    )
    said = page.locator("main").inner_text()
    found = re.search(r"by ([\d.]+) points \(95 % interval ([-\d.]+) to ([-\d.]+);", said)
    assert found, said
    assert f"{better} is better than" in said
    assert "Fisher's exact test on 128 rows and 128 other rows" in said
    difference, low, high = map(float, found.groups())
    assert 0 < low < difference < high


def test_texts_of_a_run_are_texts_in_the_browser(
    ui: UiUnderTest, browser_page: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", odd_runs.SECRET)
    folder = odd_runs.write(ui.runs / "<script>window.attacked=1<script>")
    key = run_key(str(folder.absolute()))
    compared = f"trial={key}:{odd_runs.TRIAL}&trial={key}:{odd_runs.BROKEN}"
    trials = [f"/runs/{key}/trials/{trial}" for trial in (odd_runs.TRIAL, odd_runs.BROKEN)]
    for path in ("/", f"/runs/{key}", *trials, f"/compare?{compared}", "/evaluate", "/chat", "/export"):
        page = browser_page.open(path)
        browser_page.settle()
        for tab in page.locator("[role=tab], summary").all():
            if tab.is_visible():
                tab.click()
        browser_page.settle()
        assert page.locator("main script, main img[src=x]").count() == 0, path
        assert page.locator("a[href^='javascript:']").count() == 0, path
        assert odd_runs.SECRET not in page.content(), path
        browser_page.check()
