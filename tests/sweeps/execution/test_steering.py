"""A sweep on real Ray of which trials are stopped and added by hand, while its driver is killed."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweeps.execution.trial_control import request_addition, request_stop
from sweeps.runs.location import RunFolder
from sweeps.runs.status import run_state
from tests.helpers.sweep_runs import Sweep, study
from tests.helpers.sweeps import SAVED_EVERY, SMALL, STEPS, finished, in_training, records
from trainables.results import Record

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]

# Long enough for a request to reach a trial while it trains.
LENGTH = 400
TEXT = SMALL.replace(f"steps: {STEPS}", f"steps: {LENGTH}").replace(
    f"save_steps: {SAVED_EVERY}, ", "save_steps: 100, "
)


@dataclass
class Steered:
    """A sweep of three trials. ``first`` was stopped while it trained, ``second`` after the driver was killed, and one
    was ``added`` in between.
    """

    sweep: Sweep
    first: str
    second: str
    added: str

    def record(self, trial_id: str) -> Record:
        return records(self.sweep.run)[trial_id]

    @property
    def report(self) -> str:
        return (self.sweep.run / "report" / "index.html").read_text()


@pytest.fixture(scope="module")
def steered(new: Any) -> Steered:
    sweep = new(TEXT)
    run: Path = sweep.run
    command, where = sweep.start(), RunFolder(run)
    (first,) = command.until(lambda: in_training(run, command))
    request_stop(where, first)
    command.until(lambda: first in finished(run))
    (second,) = command.until(lambda: in_training(run, command))
    _, addition = request_addition(where, first, ["train.steps=20"])
    command.signal(signal.SIGKILL)
    assert request_stop(where, second).holder is None
    assert sweep.carry_out("--resume").process.returncode == 0, sweep.command.stderr
    return Steered(sweep, first, second, addition.trial_id)


def test_a_trial_that_trains_ends_at_its_next_step_with_its_objective(steered: Steered) -> None:
    record = steered.record(steered.first)
    assert (record.status, record.stopped_by_hand, record.quality) == ("stopped", True, None)
    assert record.steps is not None
    assert record.steps < LENGTH
    assert record.stop_reason == f"stopped by hand at step {record.steps}"
    assert record.objective is not None


def test_a_trial_that_was_stopped_while_no_driver_lived_does_not_go_on(steered: Steered) -> None:
    record = steered.record(steered.second)
    assert (record.status, record.stop_reason) == ("stopped", f"stopped by hand at step {record.steps}")
    assert record.steps is not None
    assert record.steps < LENGTH


def test_the_rest_of_the_sweep_goes_on_and_its_search_was_told(steered: Steered) -> None:
    found = [record for record in records(steered.sweep.run).values() if record.role == "search"]
    assert sorted(record.status for record in found) == ["done", "stopped", "stopped"]
    states = [trial.state.name for trial in study(steered.sweep.run, "sft-lora").trials]
    assert sorted(states) == ["COMPLETE", "PRUNED", "PRUNED"]


def test_the_added_trial_was_trained_once_outside_of_the_budget(steered: Steered) -> None:
    record = steered.record(steered.added)
    assert (record.role, record.cell, record.status, record.steps) == ("added", "sft-lora", "done", 20)
    assert record.quality is not None
    assert steered.added not in [
        trial.user_attrs["trial_id"] for trial in study(steered.sweep.run, "sft-lora").trials
    ]
    state = run_state(steered.sweep.run)
    assert (state.activity, state.remaining, state.total) == ("finished", 0, 3)


def test_the_report_says_which_trials_people_stopped_and_added(steered: Steered) -> None:
    for trial_id in (steered.first, steered.second):
        reason = steered.record(trial_id).stop_reason
        assert f"{reason}; it was not scored on the test rows" in steered.report
    assert "done, added by hand" in steered.report
    assert "3 trials in 1 cell, and 1 added by hand" in steered.report
