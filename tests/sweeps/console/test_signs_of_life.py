"""What running trials are doing: a line when that changes, and one a minute for each trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.console.signs_of_life import DueSigns, Sign, last_loss

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
