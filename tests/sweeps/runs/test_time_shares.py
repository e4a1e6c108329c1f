"""After a sweep, a line says how much of its places' time went into training steps."""

from __future__ import annotations

import pytest

from sweeps.runs.time_shares import time_shares
from tests.helpers.run_folders import record


def test_the_shares_of_training_scoring_and_setting_up_add_up_with_the_rest() -> None:
    records = [
        record("a", train_seconds=60.0, eval_seconds=12.0, setup_seconds=6.0),
        record("a", train_seconds=20.0, eval_seconds=8.0, setup_seconds=None),
    ]
    assert time_shares(records, 100.0, 2) == (
        "of 1 min 40 s with 2 trials at a time: 40 % in training steps, 10 % in scoring, 3 % in setting "
        "up, 47 % in all else"
    )


def test_a_share_is_neither_rounded_to_nothing_nor_to_all() -> None:
    said = time_shares([record("a", train_seconds=99.6, eval_seconds=0.4, setup_seconds=0.0)], 100.0, 1)
    assert said is not None
    assert said.endswith(": 99.6 % in training steps, 0.4 % in scoring, 0 % in setting up, 0 % in all else")


@pytest.mark.parametrize(("seconds", "at_once"), [(100.0, 0), (0.0, 2)])
def test_nothing_is_said_where_the_time_is_not_known(seconds: float, at_once: int) -> None:
    assert time_shares([record("a", train_seconds=60.0)], seconds, at_once) is None


def test_nothing_is_said_where_no_trial_trained() -> None:
    assert time_shares([record("a", train_seconds=None, eval_seconds=5.0)], 10.0, 2) is None
