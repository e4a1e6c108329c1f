"""Trials that are done before their last step: the report says so, and of which step the weights are."""

from __future__ import annotations

from pathlib import Path

from reports.pages.report import build_report
from reports.pages.trial_tables import trial_work, trials, unfinished
from tests.helpers.run_folders import record, write_run
from trainables import results

REASON = "no better validation for 3 validations in a row (train.early_stopping), the best was at step 20"
PLANNED = {"train": {"steps": 100, "learning_rate": 1e-3}}


def test_what_was_done_early_is_told_with_its_reason_its_step_and_the_share_of_the_budget(
    tmp_path: Path,
) -> None:
    found = [
        record(
            "a1",
            "lora",
            objective=0.9,
            quality=0.9,
            steps=50,
            kept_step=20,
            stop_reason=REASON,
            config=PLANNED,
        ),
        record("a2", "lora", objective=0.7, quality=0.7, steps=100, kept_step=100, config=PLANNED),
        record("b1", "full", objective=0.8, quality=0.8, steps=100, kept_step=100, config=PLANNED),
    ]
    report = build_report([results.read_run(write_run(tmp_path / "run", found))])
    (group,) = report.groups
    statuses = {row[0]: row[2] for row in trials(group).rows}
    assert statuses == {"a1": "done early, the best", "a2": "done", "b1": "done, the best"}
    assert [row[0] for row in unfinished(report.groups).rows] == ["a1"]
    (row,) = unfinished(report.groups).rows
    assert row[3:] == ("50 of 100", REASON)
    work = trial_work(group)
    steps = {row[0]: row[work.columns.index("step of the kept weights")] for row in work.rows}
    assert steps == {"a1": "20", "a2": "100", "b1": "100"}
    questions = [question for answer in report.answers for question in answer.questions]
    assert (
        "1 of 3 finished trials ended before the last step, as validations got no better (train.early_stopping), so "
        "that these cells made fewer steps than were planned for these trials: lora 75 %"
    ) in questions


def test_a_share_of_the_budget_below_all_of_it_is_not_rounded_to_all_of_it(tmp_path: Path) -> None:
    planned = {"train": {"steps": 1000, "learning_rate": 1e-3}}
    found = [
        record("a1", "lora", steps=996, kept_step=900, stop_reason=REASON, config=planned),
        record("b1", "full", steps=1000, kept_step=1000, config=planned),
    ]
    report = build_report([results.read_run(write_run(tmp_path / "run", found))])
    assert any("trials: lora 99.6 %" in question for question in report.answers[0].questions)


def test_nothing_is_said_of_early_ends_where_all_ran_to_their_last_step(tmp_path: Path) -> None:
    report = build_report([results.read_run(write_run(tmp_path / "run", [record("a1", "lora", steps=100)]))])
    (group,) = report.groups
    assert not unfinished(report.groups).rows
    assert "step of the kept weights" not in trial_work(group).columns
    assert not any("early_stopping" in question for answer in report.answers for question in answer.questions)
