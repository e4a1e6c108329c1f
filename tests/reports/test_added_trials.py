"""Trials that people added to a run or stopped: the report marks them, and says nothing of a cell by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.pages.report import Report, build_report
from reports.pages.tables import comparison
from reports.pages.trial_tables import trials, unfinished
from reports.plots.pareto import draw
from reports.plots.style import palette
from tests.helpers.run_folders import failed, record, write_run
from trainables import results

BY_HAND = {
    "status": "stopped",
    "stopped_by_hand": True,
    "stop_reason": "stopped by hand at step 7",
    "steps": 7,
}


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """The added trial is better than all others by the validation and by the test rows, and smaller."""
    found = [
        record("base", "base", quality=0.1),
        record("a1", "lora", objective=0.8, quality=0.8),
        failed("a2", "lora", objective=0.7, **BY_HAND),
        record("a3", "lora", objective=0.99, quality=0.99, peak_train_bytes=1000, role="added"),
        failed("a4", "lora", role="added", error="it diverged"),
        record("b1", "full", objective=0.9, quality=0.9),
    ]
    environment = {"plan": {"trials": {"sft-lora": 3, "sft-full": 1}}}
    return build_report([results.read_run(write_run(tmp_path / "run", found, **environment))])


def test_an_added_trial_is_never_its_cells_best(report: Report) -> None:
    (group,) = report.groups
    bests = {row.name: row.best.trial_id for row in group.rows if row.best is not None}
    assert bests == {"lora": "a1", "full": "b1"}
    assert all("0.99" not in str(answer) and "99.0" not in str(answer) for answer in report.answers)


def test_added_trials_are_counted_apart_and_take_nothing_from_the_budget(report: Report) -> None:
    (group,) = report.groups
    cells = {row[0]: row[-1] for row in comparison(group).rows}
    assert cells["lora"] == "1 done, 1 stopped early, 2 added by hand"
    assert report.facts.startswith("3 trials in 2 cells, and 2 added by hand")
    # Of three trials two have ended: those that were added don't stand for the third.
    assert [each.text for each in report.unfinished] == ["1 of 4 trials to go"]


def test_the_table_of_trials_says_who_stopped_and_who_added_a_trial(report: Report) -> None:
    (group,) = report.groups
    statuses = {row[0]: row[2] for row in trials(group).rows}
    assert statuses["a1"] == "done, the best"
    assert statuses["a2"] == "stopped by hand"
    assert statuses["a3"] == "done, added by hand"
    assert statuses["a4"] == "failed, added by hand"
    reasons = {row[0]: row[-1] for row in unfinished(report.groups).rows}
    assert reasons["a2"].startswith("stopped by hand at step 7; it was not scored on the test rows")


def test_an_added_trial_is_a_point_of_its_own_kind(report: Report) -> None:
    (group,) = report.groups
    drawing = draw(group, palette(report.groups), "pareto")
    assert drawing is not None
    (axes,) = drawing.figure.axes
    (added,) = [line for line in axes.get_lines() if line.get_marker() == "s"]
    assert list(added.get_xdata()) == [pytest.approx(1000 / 2**30)]
    shown = [text.get_text() for legend in drawing.figure.legends for text in legend.get_texts()]
    assert "added by hand" in shown
    assert any("a3, added by hand" in mark.text for mark in drawing.marks.values())
