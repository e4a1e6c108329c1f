"""What the models saw, in the report: counts, lengths, and example rows with the text under the loss marked."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from reports.write import write
from tests.helpers.run_folders import data_entry, piece, record, write_data, write_run
from tests.reports.test_report import Page
from trainables import results


def section(path: Path) -> str:
    """The section's HTML."""
    found = re.search(r'<section aria-labelledby="data">.*?</section>', path.read_text(), re.DOTALL)
    assert found
    return found[0]


def report_of(tmp_path: Path, *entries: dict, **environment: object) -> tuple[str, str]:
    """The section and ``summary.md`` of a run whose models saw ``entries``."""
    run = write_data(write_run(tmp_path / "run", [record("aaa")], **environment), *entries)
    path = write([run])
    return section(path), (path.parent / "summary.md").read_text()


def test_page_and_summary_state_counts_lengths_and_warnings(tmp_path: Path) -> None:
    html, summary = report_of(tmp_path, data_entry())
    for text in (Page(html).text.replace("\u00a0", " "), summary):
        assert "2,149 training, 64 validation and 64 test rows" in text
        assert "17 rows were left out of training because they belong to held-out rows" in text
        assert "have the same prompt" not in text  # none has
        assert "A training row has 38 to 128 tokens (median 53); 0.51 % of the rows were shortened" in text
        assert "The loss is computed on 16 % of the tokens; 4 % of a batch is padding." in text
        assert "Warning: 4 of 2400 rows left out" in text
        assert "detected from its columns" in text
    assert "Wake me" not in summary


def test_exactly_the_text_under_the_loss_is_marked(tmp_path: Path) -> None:
    row = [piece("one\n"), piece("  two\n\tthree ", True), piece("four"), piece("五 <b>", True)]
    html, _ = report_of(tmp_path, data_entry(row))
    assert re.findall(r"<mark>(.*?)</mark>", html, re.DOTALL) == ["  two\n\tthree ", "五 &lt;b&gt;"]
    (shown,) = re.findall(r'<div class="row" lang="" dir="auto">(.*?)</div>', html, re.DOTALL)
    assert unescape(re.sub("</?mark>", "", shown)) == "one\n  two\n\tthree four五 <b>"


def test_a_row_is_text_never_markup(tmp_path: Path) -> None:
    nasty = "</mark></div><script>alert('1')</script><img src=x onerror=alert(2)>&amp;"
    entry = data_entry(
        [piece(nasty), piece(nasty, True)], problems=["<b>bold</b> | `rows`"], notes=["<i>note</i>"]
    )
    html, summary = report_of(tmp_path, entry)
    page = Page(html)
    assert {tag for tag, _ in page.tags} & {"script", "img", "b", "i"} == set()
    assert page.text.count(nasty) == 2
    assert "<b>" not in summary


def test_a_shortened_row_says_outside_the_mark_how_much_is_missing(tmp_path: Path) -> None:
    html, _ = report_of(
        tmp_path, data_entry([piece("long", left_out=96_000), piece("answer", True, left_out=1)])
    )
    text = Page(html).text.replace("\u00a0", " ")
    assert "long… 96,000 characters left out" in text
    assert "answer… 1 character left out" in text
    assert re.findall("<mark>(.*?)</mark>", html) == ["answer"]


def test_without_data_json_a_sentence_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record("aaa")], notes=["a note"], data_notes=["4 rows left out"])
    assert results.read_run(run).data == ()
    path = write([run])
    assert "The run has no data.json" in section(path)
    assert "<svg" not in section(path)
    assert not (path.parent / "figures" / "lengths.png").exists()
    summary = (path.parent / "summary.md").read_text()
    assert "The run has no data.json" in summary
    assert "- 4 rows left out" in summary


def test_a_note_on_the_data_appears_once(tmp_path: Path) -> None:
    problem = "4 rows left out: their answer is empty"
    _, summary = report_of(tmp_path, data_entry(problems=[problem]), notes=["a note"], data_notes=[problem])
    assert (tmp_path / "run" / "report" / "index.html").read_text().count(problem) == 1
    assert summary.count(problem) == 1
    assert "- a note" in summary


def test_every_stage_has_its_own_lengths_and_what_is_the_same_is_shown_once(tmp_path: Path) -> None:
    html, _ = report_of(
        tmp_path, data_entry(), data_entry(), data_entry(stage="dpo"), data_entry(cutoff="another")
    )
    titles = [title for _, title in Page(html).headings]
    first, second = "sft of smollm2-135m on commands (1)", "sft of smollm2-135m on commands (2)"
    assert titles == ["What the models saw", first, "dpo of smollm2-135m on commands", second]
    names = {path.stem for path in (tmp_path / "run" / "report" / "figures").glob("lengths*")}
    assert len(names) == 3


def test_of_several_runs_those_without_data_json_are_named(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [record("aaa")]) for name in ("monday", "tuesday")]
    write_data(runs[0], data_entry())
    found = section(write(runs))
    assert "tuesday has no data.json" in found
    assert "2,149 training" in found


def test_a_damaged_data_json_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record("aaa")])
    (run / "data.json").write_text("[{")
    with pytest.raises(ValueError, match=r"data\.json is damaged"):
        results.read_run(run)
