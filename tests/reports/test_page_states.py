"""The report's page in each state of a run, at the width of a desk and of a phone, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from reports.write import write
from tests.helpers.browser import evaluated
from tests.helpers.run_folders import example_run, failed, record, write_run, write_scores

pytestmark = pytest.mark.slow

LOSS: dict[str, Any] = {"quality_name": "loss", "quality_unit": None, "quality_higher_is_better": False}
TWELVE = ("full", "freeze", "lora", "dora", "qlora-4bit", "qlora-8bit", "lora-rank4-alpha8-all-linear", "lora-rank8",
          "lora-rank16", "rslora", "pissa", "a-name-that-somebody-gave-their-own-method")  # fmt: skip


def one_method(folder: Path) -> list[Path]:
    return [write_run(folder, [record("aaa", "full"), record("base00000000", "base", quality=0.03)])]


def twelve_cells(folder: Path) -> list[Path]:
    records = [
        record(f"t{place}", name, quality=0.9 - 0.01 * place, peak_train_bytes=(3000 - 150 * place) * 2**20)
        for place, name in enumerate(TWELVE)
    ]
    run = write_run(folder, records)
    for place in range(len(TWELVE)):
        write_scores(run, f"t{place}", [float(row < 90 - place) for row in range(100)])
    return [run]


def a_failed_cell(folder: Path) -> list[Path]:
    error = "ValueError: " + "a_very_long_name_without_any_space_" * 8
    return [write_run(folder, [record("aaa", "full"), record("bbb"), failed("ccc", "freeze", error=error)])]


def losses_near_0(folder: Path) -> list[Path]:
    records = [
        record("aaa", "full", quality=0.00012, peak_train_bytes=3700 * 2**20, **LOSS),
        record("bbb", "lora", quality=0.00021, **LOSS),
        record("ddd", "base", quality=3.998, **LOSS),
    ]
    return [write_run(folder, records)]


def two_runs(folder: Path) -> list[Path]:
    return [example_run(folder / "monday-with-a-long-name"), example_run(folder / "tuesday")]


def unfinished(folder: Path) -> list[Path]:
    run = example_run(folder)
    (run / "trials" / "07c41be7f007" / "record.json").unlink()
    return [run]


STATES: dict[str, Callable[[Path], list[Path]]] = {
    "one method": one_method,
    "twelve cells": twelve_cells,
    "a failed cell": a_failed_cell,
    "losses near 0": losses_near_0,
    "two runs": two_runs,
    "unfinished": unfinished,
}

LOOK = """
const width = document.documentElement.clientWidth;
const scrolls = (element) => {
  for (let each = element.parentElement; each; each = each.parentElement)
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(each).overflowX)) return true;
  return false;
};
const beyond = [...document.querySelectorAll("body *")].filter((each) =>
  !each.closest("svg") && each.getClientRects().length && !scrolls(each)
  && each.getBoundingClientRect().right > width + 1);
const table = [...document.querySelectorAll("table")].find((each) =>
  each.tHead && each.tHead.rows[0].cells[0].textContent.trim().startsWith("cell"));
return {
  width,
  scrolled: document.documentElement.scrollWidth,
  beyond: beyond.map((each) => `${each.tagName}.${each.className}: ${each.textContent.trim().slice(0, 60)}`),
  headers: [...table.tHead.rows[0].cells].map((each) => [each.textContent.trim(), each.getBoundingClientRect().right]),
  paper: getComputedStyle(document.body).backgroundColor,
};
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    @cache
    def made(state: str) -> str:
        runs = STATES[state](tmp_path_factory.mktemp("state") / "run")
        return write(runs).read_text(encoding="utf-8")

    return made


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("state", STATES)
def test_nothing_is_wider_than_the_window_and_the_first_columns_are_seen(
    page: Callable[[str], str], state: str, width: int, dark: bool
) -> None:
    found = evaluated(page(state), LOOK, width=width, dark=dark)
    assert found["width"] in range(width - 20, width + 1)  # a scroll bar
    assert found["beyond"] == []
    assert found["scrolled"] <= width
    assert found["paper"] == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    first = found["headers"][:3]
    assert [name for name, right in first if right > found["width"]] == [], first
