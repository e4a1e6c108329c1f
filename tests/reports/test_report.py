"""The report as written: its files, its page read by a parser, its figures, and what it refuses."""

import json
import re
import struct
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from reports.analysis.comparison import compare
from reports.plots import figures
from reports.plots.style import palette
from reports.write import write
from tests.helpers.run_folders import failed, record, write_run
from trainables import results


class Page(HTMLParser):
    """The tags, headings and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.headings: list[tuple[int, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self.open):
            return
        self.text += data
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            level, title = self.headings[-1]
            self.headings[-1] = level, title + data


@pytest.fixture(scope="module")
def run(example_report: Path) -> Path:
    return example_report


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return (run / "report" / "index.html").read_text()


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_a_report_is_a_page_a_summary_a_table_and_figures(run: Path) -> None:
    names = {str(path.relative_to(run / "report")) for path in (run / "report").rglob("*") if path.is_file()}
    drawn = {f"figures/{name}.{kind}" for name in _FIGURES for kind in ("png", "svg")}
    assert names == {"index.html", "summary.md", "comparison.csv", "pairs.csv", "report.json"} | drawn


_FIGURES = ("pareto", "learning-curves", "learning-rates", "settings", "memory", "lengths")


def test_figures_are_true_png_and_svg(run: Path) -> None:
    for name in _FIGURES:
        data = (run / "report" / "figures" / f"{name}.png").read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">I", data[16:20])[0] == 1000  # pixels wide
        assert "<svg" in (run / "report" / "figures" / f"{name}.svg").read_text()


def test_the_answer_comes_before_every_other_section(page: Page) -> None:
    assert [title for _, title in page.headings] == [
        "methods",
        "The answer",
        "The Pareto front",
        "The cells compared",
        "Learning curves",
        "Effect of rank, alpha and learning rate",
        "Memory by phase",
        "What the models saw",
        "Using the results",
        "Failures and early stops",
        "Every trial",
        "How to repeat it",
    ]


def test_headings_never_skip_a_level(page: Page) -> None:
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_the_page_asks_the_network_for_nothing(page: Page, html: str) -> None:
    links = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name.endswith(("href", "src"))
    ]
    assert links
    assert all(link.startswith("#") for link in links)
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "img", "object"} == set()
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    assert "http://" not in html
    assert "https://" not in html


def test_ids_are_unique_and_every_reference_has_its_target(page: Page, html: str) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    targets = re.findall(r'(?:href="|url\()#([^")]+)', html)
    assert targets
    assert set(targets) <= set(ids)
    labelled = {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert labelled <= set(ids)


def test_every_figure_has_a_description_in_words(page: Page) -> None:
    drawn = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawn) == len(_FIGURES)
    assert all(attributes["role"] == "img" and len(attributes["aria-label"]) > 60 for attributes in drawn)
    # A title is what a browser shows of what is pointed at: of a mark its text, of a figure nothing.
    tags = page.tags[page.tags.index(("body", {})) :]
    assert all(before[1].get("class") == "mark" for before, (tag, _) in pairwise(tags) if tag == "title")
    assert "lora 96.9 % at 1.00 GiB, on the front" in drawn[0]["aria-label"]
    assert "Untuned: 3.1 %." in drawn[0]["aria-label"]


def test_figures_scale_and_take_the_pages_colours(page: Page, html: str) -> None:
    drawn = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert all(attributes["viewbox"] and "width" not in attributes for attributes in drawn)
    body = html[html.index("<body") :]
    assert "var(--ink)" in body
    assert "#ffffff" not in body
    assert "#1f2328" not in body


def test_the_page_is_made_for_phones_and_dark_rooms(page: Page, html: str) -> None:
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert "prefers-color-scheme: dark" in html
    tables = sum(tag == "table" for tag, _ in page.tags)
    boxes = [attributes for _, attributes in page.tags if attributes.get("class") == "scroll"]
    assert tables == len(boxes) == 7
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_every_unfinished_trial_is_shown_with_its_reason(page: Page, run: Path) -> None:
    for text in (page.text, (run / "report" / "summary.md").read_text()):
        assert "the gradient's norm is NaN at step 7" in text
        assert "can't allocate memory" in text
        assert "20 of 40" in text


def test_a_trial_says_where_memory_ran_out_and_whether_it_was_retried_with_a_smaller_batch(
    tmp_path: Path,
) -> None:
    out = failed("one", status="out_of_memory", out_of_memory_in="backward", error="can't allocate memory")
    retried = record("two", out_of_memory_in="forward", retried_batch_size=4)
    text = write([write_run(tmp_path / "run", [out, retried])]).with_name("summary.md").read_text()
    assert "in the backward pass: can't allocate memory" in text
    assert (
        "batch size after running out of memory" in (tmp_path / "run" / "report" / "index.html").read_text()
    )


def test_how_to_repeat_it_names_command_versions_and_spec(page: Page, run: Path) -> None:
    for text in (page.text, (run / "report" / "summary.md").read_text()):
        assert "paretune run methods" in text
        assert "bitsandbytes 0.50.2" in text
        assert "search: {trials: 4, sampler: tpe, scheduler: asha, seed: 0}" in text
        assert "the space holds 3 configs" in text
        assert "peak resident memory of the process above its baseline" in text


def test_no_unknown_number_prints_as_nan_or_none(page: Page, run: Path) -> None:
    for text in (page.text, (run / "report" / "summary.md").read_text()):
        assert not re.search(r"\b(nan|None|null|inf)\b", text)


def test_errors_are_shown_as_text_never_as_markup(tmp_path: Path) -> None:
    nasty = 'Traceback (most recent call last):\n<script>alert("1")</script> | & </table>'
    spec = "name: <script>alert(2)</script>\n```\n"
    records = [record("aaa", cell='sft-"><b>', method="<i>lora"), failed("bbb", "full", error=nasty)]
    folder = write_run(tmp_path / "run", records, question="<script>why</script>", notes=["<b>note"])
    (folder / "spec.yaml").write_text(spec)
    path = write([folder])
    page = Page(path.read_text())
    tags = [tag for tag, _ in page.tags]
    assert (tags.count("script"), {"b", "i"} & set(tags)) == (1, set())
    assert '<script>alert("1")</script> | & </table>' in page.text
    assert "<script>alert(2)</script>" in page.text
    summary = (path.parent / "summary.md").read_text()
    assert "&lt;script>alert" in summary
    assert "\\| &" in summary
    assert "````yaml" in summary


def test_an_empty_run_says_that_there_is_no_answer(tmp_path: Path) -> None:
    path = write([write_run(tmp_path / "run", [])])
    assert "No trial has left a record yet" in path.read_text()
    assert "No trial has left a record yet" in (path.parent / "summary.md").read_text()


def test_a_run_without_a_result_still_has_its_report(tmp_path: Path) -> None:
    nothing = {"peak_train_bytes": None, "memory_source": None}
    path = write([write_run(tmp_path / "run", [failed("aaa", "full", **nothing), failed("bbb", **nothing)])])
    text = Page(path.read_text()).text
    assert "There is no answer" in text
    assert "there is no front to draw" in text
    assert "No memory was measured" in text


def test_a_run_of_two_stages_has_an_answer_and_figures_for_each(tmp_path: Path) -> None:
    other = {"stage": "dpo", "quality_name": "pair_accuracy", "objective_name": "pair_accuracy"}
    records = [
        record("aaa"),
        record("bbb", "full", quality=0.5),
        record("ccc", cell="dpo-lora", **other),
        record("ddd", "full", cell="dpo-full", **other),
    ]
    path = write([write_run(tmp_path / "run", records)])
    text = Page(path.read_text()).text
    assert "its exact match of" in text
    assert "its pair accuracy of" in text
    assert (path.parent / "figures" / "pareto-2-dpo-of-smollm2-135m-on-commands.png").exists()


def test_several_runs_make_one_report_beside_them(tmp_path: Path) -> None:
    runs = [
        write_run(
            tmp_path / name, [record("aaa", quality=quality)], name=name, command=f"paretune run {name}"
        )
        for name, quality in (("monday", 0.9), ("tuesday", 0.5))
    ]
    path = write(runs)
    assert path == tmp_path / "report" / "index.html"
    text = Page(path.read_text()).text
    assert "monday: sft-lora" in text
    assert "paretune run tuesday" in text
    assert write(runs, tmp_path / "elsewhere") == tmp_path / "elsewhere" / "index.html"


def test_an_old_report_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [record("aaa")])
    path = write([folder])
    path.write_text("old")
    (path.parent / "figures" / "gone.png").write_text("old")
    write([folder])
    assert "<!doctype html>" in path.read_text()
    assert not (path.parent / "figures" / "gone.png").exists()
    assert [entry.name for entry in folder.iterdir() if entry.name.startswith(".")] == []


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [record("aaa")])
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"thesis\.tex.*name a new folder"):
        write([folder], tmp_path / "home")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(ValueError, match="is a file"):
        write([folder], tmp_path / "home" / "thesis.tex")


def test_a_path_that_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is it a run folder"):
        write([tmp_path])
    with pytest.raises(ValueError, match="no run given"):
        write([])


def test_the_same_run_gives_the_same_page(run: Path, html: str, tmp_path: Path) -> None:
    assert write([run], tmp_path / "again").read_text() == html


def test_a_method_has_one_colour_in_every_report(run: Path, tmp_path: Path) -> None:
    small = results.read_run(write_run(tmp_path / "run", [record("aaa", "lora"), record("bbb", "full")]))
    one, other = palette(compare([results.read_run(run)])), palette(compare([small]))
    assert one["full"] == other["full"]
    assert len(set(one.values())) == len(one)


def test_the_front_is_available_as_an_image_for_tracking(run: Path, tmp_path: Path) -> None:
    assert figures.pareto_png(results.read_run(run))[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="no front to draw"):
        figures.pareto_png(
            results.read_run(write_run(tmp_path / "run", [failed("aaa", peak_train_bytes=None)]))
        )


def test_reports_import_neither_torch_nor_ray_nor_matplotlib() -> None:
    code = (
        "import sys, json, reports, reports.write\n"
        "print(json.dumps([n for n in ('torch', 'ray', 'matplotlib', 'optuna') if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
