"""The time that is left is told from what trials take, and not from when the first of them was ready."""

from __future__ import annotations

import time

import pytest

from sweeps.console.signs_of_life import Sign
from sweeps.console.time_left import TimeLeft
from tests.helpers import run_folders
from trainables.results import Record


def ended(number: int, cell: str, seconds: int, status: str = "done") -> Record:
    minutes, rest = divmod(seconds, 60)
    times = {"started_at": "2026-01-01T10:00:00Z", "ended_at": f"2026-01-01T10:{minutes:02d}:{rest:02d}Z"}
    return run_folders.record(f"{number:012x}", cell=cell, status=status, **times)


def test_the_trials_of_each_cell_take_what_its_own_took() -> None:
    left = TimeLeft({"full": 4, "lora": 3}, {}, slots=1)
    assert left.seconds([]) is None
    assert left.seconds([ended(1, "full", 60)]) == 6 * 60  # of lora nothing else is known
    assert left.seconds([ended(1, "full", 60), ended(2, "lora", 20)]) == 3 * 60 + 2 * 20
    assert left.seconds([ended(1, "full", 60), ended(2, "lora", 1, "failed")]) == 5 * 60


def test_what_a_plan_predicts_counts_as_one_trial_and_is_known_from_the_start() -> None:
    left = TimeLeft({"full": 4, "lora": 4}, {"full": 30.0, "lora": 10.0}, slots=2)
    assert left.seconds([]) == (4 * 30 + 4 * 10) / 2
    assert left.seconds([ended(1, "full", 60)]) == (3 * 45 + 4 * 10) / 2


def test_trials_that_run_have_done_a_part_and_fewer_trials_than_slots_use_fewer_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    left = TimeLeft({"full": 2}, {"full": 60.0}, slots=4)
    starting, training = Sign("full", "a", "starting"), Sign("full", "a", "training")
    left.follow([starting])
    now[0] += 500  # workers that start are no part of the trial
    left.follow([training])
    now[0] += 15
    assert left.seconds([], [training]) == (2 * 60 - 15) / 2
    assert left.seconds([ended(10, "full", 60)], [training]) == 60 - 15
    now[0] += 600  # a trial that takes longer than predicted is about to end
    assert left.seconds([ended(10, "full", 60)], [training]) == 0
