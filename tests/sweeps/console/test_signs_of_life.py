"""What running trials are doing: a line when that changes, and one a minute for each trial."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sweeps.console.signs_of_life import DueSigns, Sign, last_loss
from sweeps.console.step_lines import StepLines
from sweeps.console.trial_counts import trial_counts
from sweeps.execution.local_trial import not_run
from tests.helpers import specs
from trainables.training.activity import Activity

TRIAL = ("sft-full", "3f2a9c81d0b4")


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        (Sign(*TRIAL, "starting", needs="1 x (2 CPUs)"), "waits for its workers to start, 1 x (2 CPUs)"),
        (Sign(*TRIAL, "loading"), "loads its model and rows"),
        (Sign(*TRIAL, "loading", untrained=True), "scores the untrained model"),
        (
            Sign(*TRIAL, "training", 12, 60, 1.23456, 0.5),
            "step 12 of 60, loss 1.235, 0.5 s a step, about 24 s left in training",
        ),
        (Sign(*TRIAL, "training", 0, 60), "step 0 of 60"),
        (Sign(*TRIAL, "saving", 12, 60, 1.2, 0.5), "step 12 of 60, writes a checkpoint"),
        (Sign(*TRIAL, "scoring", 60, 60), "has trained 60 steps; its model is saved and scored"),
    ],
)
def test_what_a_trial_is_doing_in_words(sign: Sign, words: str) -> None:
    assert str(sign) == f"sft-full 3f2a9c81d0b4 {words}"


def test_a_change_is_due_at_once_and_steps_once_in_the_interval() -> None:
    hour = DueSigns(seconds=3600)
    states = [
        Sign(*TRIAL, "loading"),
        Sign(*TRIAL, "loading"),
        Sign(*TRIAL, "training", 1, 60),
        Sign(*TRIAL, "training", 9, 60),
        Sign(*TRIAL, "saving", 9, 60),  # no change, or it would be two lines for each checkpoint
        Sign(*TRIAL, "training", 10, 60),
        Sign(*TRIAL, "scoring", 60, 60),
    ]
    assert [sign for each in states for sign in hour.due([each])] == [states[0], states[2], states[6]]
    always = DueSigns(seconds=0)
    assert [sign for each in states for sign in always.due([each])] == states
    assert hour.due([Sign("sft-lora", "000000000001", "loading")]) != []  # each trial has its own interval


def test_the_last_loss_is_read_from_the_end_of_a_curve_that_is_being_written(tmp_path: Path) -> None:
    assert last_loss(tmp_path) is None
    points = [{"step": step, "name": "train_loss", "value": 1 / step} for step in range(1, 2000)]
    lines = [json.dumps(point) for point in points]
    lines += [json.dumps({"step": 1999, "name": "objective", "value": 7.0}), '{"step": 2000, "na']
    (tmp_path / "curve.jsonl").write_text("\n".join(lines))
    assert last_loss(tmp_path) == 1 / 1999


def test_a_trial_in_this_process_prints_a_line_a_step() -> None:
    lines: list[str] = []
    control = StepLines(2, lines.append)
    control.follow(Activity("training", 0, 0))
    for step in (1, 2):
        control.follow(Activity("training", step, 0))
        control.logged(step, {"train_loss": 3.0 / step, "learning_rate": 2e-4})
    control.logged(2, {"objective": -1.25})
    for _ in range(2):
        control.follow(Activity("finishing", 2, 0))
    assert [re.sub(r", \S+ s$", "", line) for line in lines] == [
        "step 1 of 2: loss 3, learning rate 0.0002",
        "step 2 of 2: loss 1.5, learning rate 0.0002",
        "step 2 of 2: -1.25 on the validation rows, which is the objective: higher is better",
        "trained 2 of 2 steps; the model is saved, scored and measured",
    ]


def test_a_plans_trials_are_counted_without_untrained_models_and_in_the_singular_where_it_is_one(
    tmp_path: Path,
) -> None:
    folder = specs.spec_folder(tmp_path)
    one = specs.plan(folder, sets=("search.trials=1",), method="full")
    assert trial_counts(one) == "1 trial in 1 cell, and 1 starting model to score without training"
    many = specs.plan(folder, sets=("finalists.seeds=2",))
    assert trial_counts(many) == (
        "10 trials in 2 cells (6 of the search, then 4 finalists), and 1 starting model to score without training"
    )
    assert not_run(many, "sft-full", untrained=False) == (
        "Not run: the other 2 trials of sft-full's search, 2 finalists, 1 other cell (sft-lora), the untrained model "
        "(--method base)"
    )
    assert not_run(one, "sft-full", untrained=True) == "Not run: 1 trial of sft-full's search"
