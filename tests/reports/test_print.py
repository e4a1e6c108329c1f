"""The page on paper: what is folded is printed, nothing is cut off at the right, controls are left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.chromium import launched

pytestmark = pytest.mark.slow  # in a browser

PAPER = {"width": 718, "height": 1047}  # A4 without margins of 1 cm, in CSS pixels
FOLDED = "document.querySelectorAll('details:not([open])').length"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as chromium:
        yield chromium


def opened(browser: Any, report: Path, **options: Any) -> Any:
    page = browser.new_page(viewport=PAPER, **options)
    page.goto((report / "report" / "index.html").as_uri())
    return page


def page_count(pdf: bytes) -> int:
    return pdf.count(b"/Type /Page\n")


def test_what_is_folded_is_printed_and_folded_again(browser: Any, example_report: Path) -> None:
    page = opened(browser, example_report)
    # Added after the page's own, so they see what that has done.
    page.evaluate(
        f"for (const name of ['beforeprint', 'afterprint']) addEventListener(name, () => {{ window[name] = {FOLDED} }})"
    )
    folded = page.evaluate(FOLDED)
    page.evaluate("document.querySelector('details').open = true")  # by the reader: it stays
    pdf = page.pdf(format="A4")
    assert folded > 1
    assert (page.evaluate("window.beforeprint"), page.evaluate("window.afterprint")) == (0, folded - 1)
    unopened = opened(browser, example_report, java_script_enabled=False).pdf(format="A4")
    assert page_count(pdf) > page_count(unopened) > 1


def test_nothing_is_cut_off_at_the_right_of_the_paper(browser: Any, example_report: Path) -> None:
    page = opened(browser, example_report)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    beyond = """
    [...document.querySelectorAll("main, table, figure, svg, pre, td, p")]
      .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
      .map((each) => `${each.tagName} ${each.textContent.trim().slice(0, 40)}`)
    """
    assert page.evaluate(beyond) == []


def test_controls_and_the_dark_scheme_stay_on_the_screen(browser: Any, example_report: Path) -> None:
    page = opened(browser, example_report, color_scheme="dark")
    shown = "[...document.querySelectorAll('.cells, .filter')].filter((each) => each.getClientRects().length).length"
    colours = (
        "[getComputedStyle(document.body).color, getComputedStyle(document.documentElement).backgroundColor]"
    )
    assert page.evaluate(shown) > 1
    assert page.evaluate(colours)[0] != "rgb(0, 0, 0)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(shown) == 0
    assert page.evaluate(colours)[0] == "rgb(0, 0, 0)"
