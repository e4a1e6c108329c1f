"""A sweep in breadth on real Ray: trials pause in warm slots and go on, also after Ctrl-C."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.started_programs import started_programs, watching_starts
from tests.helpers.sweep_runs import Sweep, assert_learned_as_if_undisturbed
from tests.helpers.sweeps import METHODS, SAVED_EVERY, SPEC, STEPS, records
from trainables.results import TRAINING_OBJECTIVE, read_curve

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]

# Of six trials of 24 steps, two go on after step 4 and one after step 12.
TEXT = (
    SPEC.replace("trials: 3, sampler: random, scheduler: none", "trials: 6, sampler: random, grace_steps: 4")
    .replace(f"steps: {STEPS}", "steps: 24")
    .replace(f"save_steps: {SAVED_EVERY}, ", "")
    .replace("concurrent: 2", "concurrent: 1")
    .replace(METHODS, "methods: [{kind: lora, rank: 4}]\n")
)


@pytest.fixture(scope="module")
def sweep(new: Any) -> Sweep:
    made = new(TEXT)
    watching = watching_starts(made.home.folder / "watched")
    assert made.carry_out(**watching).process.returncode == 0, made.command.stderr
    return made


def searched(run: Path) -> dict[str, tuple[str, int | None]]:
    found = records(run).values()
    return {each.trial_id: (each.status, each.steps) for each in found if each.role == "search"}


def compared(run: Path) -> dict[tuple[str, int], float]:
    """What trials were compared by, by trial and step; nothing before the sweep has any trial."""
    return {
        (folder.name, point["step"]): point["value"]
        for folder in (run / "trials").glob("*")
        for point in read_curve(folder)
        if point["name"] == TRAINING_OBJECTIVE
    }


def test_six_trials_are_compared_two_go_on_and_one_trains_to_its_end(sweep: Sweep) -> None:
    ends = searched(sweep.run)
    assert sorted(ends.values()) == [("done", 24), *[("stopped", 4)] * 4, ("stopped", 12)]
    values = compared(sweep.run)
    at_four = sorted((trial for trial, step in values if step == 4), key=lambda trial: -values[trial, 4])
    assert {trial for trial, step in values if step == 12} == set(at_four[:2])
    (done,) = (trial for trial, (status, _) in ends.items() if status == "done")
    assert values[done, 12] == max(values[trial, 12] for trial in at_four[:2])


def test_the_trial_that_went_on_twice_has_learned_what_it_would_have_at_once(
    sweep: Sweep, tmp_path: Path
) -> None:
    (done,) = (trial for trial, (status, _) in searched(sweep.run).items() if status == "done")
    assert_learned_as_if_undisturbed(sweep.run, done, tmp_path)


def test_all_trials_are_trained_by_one_warm_slot(sweep: Sweep) -> None:
    assert len({record.slot for record in records(sweep.run).values()}) == 1


def test_the_first_comparison_is_in_the_log_in_the_status_and_in_the_report(sweep: Sweep) -> None:
    first = json.loads((sweep.run / "environment.json").read_text())["first_comparison"]
    assert first["cells"][0]["trials"] == 6
    assert first["text"] in (sweep.run / "sweep.log").read_text()
    assert first["text"][1:] in (sweep.run / "report" / "summary.md").read_text()


def test_where_wandb_is_off_nothing_of_it_is_started_or_left(sweep: Sweep) -> None:
    started = started_programs(sweep.home.folder / "watched")
    assert [line for line in started if "ray" in line.lower()]  # what is started is seen
    assert [line for line in started if "wandb" in line.lower()] == []
    left = [path for place in (sweep.home.folder, sweep.home.temporary) for path in place.rglob("*")]
    assert sweep.run / "environment.json" in left
    assert [path for path in left if "wandb" in path.name.lower()] == []
    assert list(sweep.home.temporary.iterdir()) == []


def test_a_sweep_that_is_interrupted_while_trials_pause_ends_as_an_undisturbed_one(
    sweep: Sweep, new: Any
) -> None:
    again = new(TEXT)
    again.start()
    again.command.until(lambda: len(compared(again.run)) >= 3)
    again.command.signal(signal.SIGINT)
    assert again.command.process.returncode == 130, again.command.stderr
    assert "stopped" not in [status for status, _ in searched(again.run).values()]
    assert again.carry_out("--resume").process.returncode == 0, again.command.stderr
    assert searched(again.run) == searched(sweep.run)
    assert compared(again.run) == compared(sweep.run)
