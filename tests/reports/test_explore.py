"""What the page's own script adds: marks that say what they show, tables that sort and filter, cells that hide."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from reports.analysis.comparison import compare
from reports.plots import figures, svg
from reports.plots.drawing import Mark
from reports.plots.marks import cell_text, trial_text
from reports.write import write
from tests.helpers.browser import evaluated
from tests.helpers.run_folders import record, write_run
from trainables import results


@pytest.fixture(scope="module")
def html(example_report: Path) -> str:
    return (example_report / "report" / "index.html").read_text()


@pytest.fixture(scope="module")
def group(example_report: Path) -> Any:
    (found,) = compare([results.read_run(example_report)])
    return found


def test_the_policy_allows_the_pages_own_script_alone(html: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert len(re.findall("<script", html)) == 1
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way not in script


def test_without_scripts_nothing_is_shown_that_does_nothing(html: str) -> None:
    for element in re.findall(r'<(?:form|p) class="(?:cells|filter)"[^>]*>', html):
        assert element.endswith(" hidden>")
    assert 'role="img" aria-label=' in html


def test_a_mark_says_what_became_of_its_trial(group: Any) -> None:
    row = next(row for row in group.rows if row.name == "lora")
    assert cell_text(group, row).splitlines() == [
        "lora",
        "best trial 07c41be7f007",
        "rank 8, alpha 16, learning rate 0.002",
        "test exact match 96.9 % (95 %: 92.2 to 98.8)",
        "peak memory 1.00 GiB",
        "on the Pareto front",
    ]
    stopped = next(each for each in row.cell.records if each.status == "stopped")
    assert trial_text(group, row, stopped).splitlines() == [
        "lora, trial 08c41be7f008",
        "stopped early at step 20 of 40",
        "rank 16, alpha 8, learning rate 0.00041",
        "test exact match 39.8 %",
        "validation exact match 40.6 %",
        "peak memory 1.00 GiB",
        "training time 24 s",
    ]


def test_every_trial_in_a_figure_is_a_mark_of_its_cell(group: Any) -> None:
    drawn = figures.draw_figures([group])
    keys = {row.cell.key for row in group.rows}
    for kind in ("pareto", "learning-curves", "learning-rates", "settings", "memory"):
        marks = drawn.drawings[kind, group.title].marks
        assert {key for mark in marks.values() for key in mark.cells} == keys
        page = str(drawn.inline(kind, group))
        assert page.count('class="mark"') == len(marks)
        said = " ".join(mark.text for mark in marks.values())
        for row in group.rows:
            shown = [each for each in row.cell.records if each.objective is not None]
            if kind in ("settings", "learning-rates"):
                assert all(each.trial_id in said for each in shown)
            else:
                assert row.name in said


def test_texts_of_marks_are_texts_in_the_page(tmp_path: Path) -> None:
    hostile = '</title><script>alert("1")</script>\u202e'
    folder = write_run(
        tmp_path / "run",
        [record("aaa", "full"), record("bbb", hostile, cell="sft-x", quality=0.5)],
    )
    html = write([folder]).read_text()
    assert '<script>alert("1")' not in html
    titles = re.findall(r"<title>(.*?)</title>", html, flags=re.DOTALL)
    assert any('</title><script>alert("1")</script>' in unescape(title) for title in titles)
    assert "\u202e" not in html


def test_a_colour_in_a_text_is_not_taken_for_one_of_the_theme() -> None:
    drawn = '<svg viewBox="0 0 1 1"><g id="mark-1"><path style="stroke: #1f2328"/></g></svg>'
    found = svg.inline(drawn, "a", "b", {"mark-1": Mark(("c1", "c2"), "#1f2328 url(#x)")})
    assert '<g id="a-mark-1" class="mark" data-cells="c1 c2"><title>#1f2328 url(#x)</title>' in found
    assert "stroke: var(--ink)" in found


LOOK = """
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const seen = (element) => element.getClientRects().length > 0;
const tip = document.querySelector(".tip");
const said = () => tip.hidden ? null : tip.textContent;
const pareto = document.querySelector("figure svg");
const mark = all(".mark[role]", pareto).find((each) => each.getAttribute("aria-label").startsWith("lora\\n"));
const box = mark.getBoundingClientRect();
const place = { clientX: box.left + box.width / 2 + 3, clientY: box.top + box.height / 2 };
const at = { bubbles: true, pointerType: "mouse", ...place };
const found = {};
"""


def test_pointing_at_a_mark_shows_its_text_and_leaving_hides_it(html: str) -> None:
    script = """
    pareto.dispatchEvent(new PointerEvent("pointermove", at));
    found.pointed = said();
    pareto.dispatchEvent(new PointerEvent("pointerleave", at));
    found.left = said();
    pareto.dispatchEvent(new PointerEvent("pointerdown", { ...at, pointerType: "touch" }));
    found.tapped = said();
    document.body.dispatchEvent(new PointerEvent("pointerdown", at));
    found.elsewhere = said();
    found.titles = all("figure title").length;
    const own = document.createElement("script");
    own.textContent = "window.planted = true";
    document.body.append(own);
    found.planted = window.planted === true;
    return found;
    """
    found = evaluated(html, LOOK + script)
    assert found["pointed"].startswith("lora\nbest trial 07c41be7f007\nrank 8, alpha 16, learning rate 0.002")
    assert found["tapped"] == found["pointed"]
    assert (found["left"], found["elsewhere"]) == (None, None)
    # The browser's own notes would stand over ours.
    assert found["titles"] == 0
    assert found["planted"] is False


def test_marks_are_reached_by_the_keyboard_with_one_stop_a_figure(html: str) -> None:
    script = """
    found.stops = all("figure svg").map((each) => all('.mark[tabindex="0"]', each).length);
    found.roles = all("figure svg").map((each) => each.getAttribute("role"));
    document.querySelector('figure svg .mark[tabindex="0"]').focus();
    const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    press("Home");
    found.first = said();
    found.walk = [];
    const count = all(".mark[role]", pareto).length;
    for (let step = 0; step < count; step++) { found.walk.push(said()); press("ArrowRight"); }
    found.again = said();
    press("End");
    found.last = said();
    press("ArrowLeft");
    found.before = said();
    press("Escape");
    found.escaped = said();
    found.stopsAfter = all('.mark[tabindex="0"]', pareto).length;
    return found;
    """
    found = evaluated(html, LOOK + script)
    assert found["stops"] == [1, 1, 1, 1, 1, 0]  # the lengths of rows are no trials
    assert found["roles"] == ["group"] * 5 + ["img"]
    assert found["first"].startswith("qlora-4bit")  # the least memory is on the left
    assert len(set(found["walk"])) == len(found["walk"])
    assert found["again"] == found["first"]
    assert found["last"].startswith("full")
    assert found["before"] == found["walk"][-2]
    assert (found["escaped"], found["stopsAfter"]) == (None, 1)


def test_tables_are_sorted_by_what_their_texts_mean_and_filtered_by_words(html: str) -> None:
    script = """
    const table = document.querySelector('[aria-label^="Every trial"] table');
    const heads = all("thead th", table).map((each) => each.textContent);
    const click = (name) => all("thead button", table)[heads.indexOf(name)].click();
    const rows = () => [...table.tBodies[0].rows].filter(seen);
    const column = (name) => rows().map((row) => row.cells[heads.indexOf(name)].textContent.trim());
    found.before = column("trial");
    click("training time");
    found.time = column("training time");
    found.sort = table.querySelector("[aria-sort]").getAttribute("aria-sort");
    click("training time");
    found.longest = column("training time");
    click("training time");
    found.after = column("trial");
    click("cell");
    found.cells = column("cell");
    const form = table.closest(".scroll").previousElementSibling, input = form.querySelector("input");
    input.value = "QLORA done";
    input.dispatchEvent(new Event("input"));
    found.filtered = column("trial");
    found.count = form.querySelector("output").textContent;
    return found;
    """
    found = evaluated(html, LOOK + script)
    times = [text.replace("\u00a0", " ") for text in found["time"]]
    assert times[:4] == ["0.0 s", "13 s", "21 s", "24 s"]
    assert times[-3:] == ["1 min 12 s", "1 min 12 s", "–"]
    assert found["sort"] == "ascending"
    assert found["longest"][0].startswith("1")
    assert found["longest"][-1] == "–"
    assert found["after"] == found["before"]
    assert found["cells"] == sorted(found["cells"])
    assert found["filtered"] == ["11c41be7f011", "12c41be7f012"]
    assert found["count"] == "2 of 14 rows"


def test_a_cell_is_hidden_in_every_figure_and_table(html: str) -> None:
    script = """
    const boxes = all(".cells input");
    found.names = boxes.map((each) => each.parentElement.textContent.trim());
    const lora = boxes[found.names.indexOf("lora")];
    all("details").forEach((each) => { each.open = true; });
    const isLora = (each) => each.dataset.cells.split(" ").includes(lora.value);
    const shown = () => all("[data-cells]").filter((each) => isLora(each) && seen(each)).length;
    const others = () => all("[data-cells]").filter((each) => !isLora(each) && seen(each)).length;
    found.before = [shown(), others()];
    lora.click();
    found.hidden = [shown(), others()];
    found.said = document.querySelector(".cells output").textContent;
    lora.click();
    found.after = [shown(), others()];
    return found;
    """
    found = evaluated(html, LOOK + script)
    assert found["names"] == ["full", "lora", "qlora-4bit", "freeze"]
    assert found["before"][0] > 30
    assert found["hidden"] == [0, found["before"][1]]
    assert found["said"] == "1 hidden"
    assert found["after"] == found["before"]


def test_what_is_folded_is_opened_for_paper_and_folded_again(html: str) -> None:
    script = """
    const folded = () => all("details:not([open])").length;
    document.querySelector("details").open = true; // by the reader: it stays
    pareto.dispatchEvent(new PointerEvent("pointermove", at));
    found.screen = folded();
    window.dispatchEvent(new Event("beforeprint"));
    found.paper = folded();
    found.said = said();
    window.dispatchEvent(new Event("afterprint"));
    found.again = folded();
    found.kept = document.querySelector("details").open;
    return found;
    """
    found = evaluated(html, LOOK + script)
    assert found["screen"] > 0
    assert found == {
        "screen": found["screen"],
        "paper": 0,
        "said": None,
        "again": found["screen"],
        "kept": True,
    }
