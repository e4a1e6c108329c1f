"""The pages of trackers that a run folder keeps: what is shown of them, and what a damaged file costs."""

from __future__ import annotations

from pathlib import Path

from reports import write as report_writer
from sweeps.tracking import links
from tests.helpers import run_folders
from trainables import results
from trainables.storage import files


def test_each_tracker_keeps_its_own_and_the_pages_of_all_are_shown(tmp_path: Path) -> None:
    links.write(tmp_path, "wandb", {"W&B report": "https://one"}, report_id="1")
    links.write(tmp_path, "mlflow", {"MLflow": "http://two"})
    links.write(tmp_path, "wandb", {"W&B report": "https://three"}, report_id="3")
    assert links.read(tmp_path, "wandb") == {"report_id": "3", "pages": {"W&B report": "https://three"}}
    assert results.tracker_pages(tmp_path) == {"W&B report": "https://three", "MLflow": "http://two"}


def test_a_page_that_would_run_a_script_is_not_shown(tmp_path: Path) -> None:
    links.write(tmp_path, "wandb", {"evil": "javascript:alert(1)", "good": "https://one"})
    assert results.tracker_pages(tmp_path) == {"good": "https://one"}


def test_a_damaged_file_costs_the_links_alone_and_is_written_anew(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"wandb": 3}', '{"wandb": {"pages": []}}'):
        files.write_text(tmp_path / results.PAGES_FILE, text)
        assert results.tracker_pages(tmp_path) == {}
        links.write(tmp_path, "wandb", {"W&B report": "https://one"})
        assert results.tracker_pages(tmp_path) == {"W&B report": "https://one"}


def test_the_report_links_the_pages_and_shows_their_texts_as_texts(tmp_path: Path) -> None:
    run = run_folders.write_run(tmp_path / "run", [run_folders.record("a"), run_folders.record("b", "full")])
    links.write(run, "wandb", {"W&B <report>": 'https://one/"x'})
    page = report_writer.write([run]).read_text()
    assert '<a href="https://one/&#34;x" rel="noreferrer">W&amp;B &lt;report&gt;</a>' in page
    assert "- W&B &lt;report>: <https://one/" in (run / "report" / "summary.md").read_text()
