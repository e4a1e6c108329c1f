"""The life of one run: killed, interrupted, stopped, resumed each time, and grown."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from tests.helpers.sweep_runs import (
    Sweep,
    assert_learned_as_if_undisturbed,
    assert_proposed_as_if_undisturbed,
    study,
)
from tests.helpers.sweeps import (
    SAVED_EVERY,
    SMALL,
    SPEC,
    STEPS,
    Command,
    curve_points,
    finished,
    in_training,
    interrupt,
    slow_disk,
)
from trainables.training.checkpoints import COMPLETE

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]

CELLS = ("sft-full", "sft-lora")


@dataclass
class Left:
    """How an ended chapter left a trial that it was training."""

    saved: int  # the step of the newest checkpoint
    step: int  # the last that was logged
    logged: int  # points of its curve


@dataclass
class Life:
    """One run through everything, and what was seen on the way."""

    sweep: Sweep
    before: dict[str, dict[str, str | None]] = field(default_factory=dict)  # ended_at by trial, by chapter
    seconds: dict[str, float] = field(default_factory=dict)
    training: dict[str, list[str]] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    left: dict[str, dict[str, Left]] = field(default_factory=dict)  # the trials in training at its end
    reported: dict[str, str] = field(default_factory=dict)  # by status and stop


def from_outside(command: str, run: Path, code: int = 0) -> str:
    """What a command that looks at a run from outside says of it."""
    done = CliRunner().invoke(app, [command, str(run)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def life(new: Any) -> Life:
    # One slot: what it is about is one trial in training at a time, and a second slot is 40 more core-seconds a start.
    lived = Life(new(SPEC.replace("concurrent: 2", "concurrent: 1")))
    sweep = lived.sweep

    def chapter(name: str, command: Command, seconds: float) -> None:
        lived.seconds[name] = seconds
        lived.commands[name] = command
        lived.codes[name] = command.process.returncode
        lived.printed[name] = command.stderr + command.stdout
        lived.before[name] = {key: record.ended_at for key, record in finished(sweep.run).items()}
        lived.left[name] = {
            trial_id: Left(newest(sweep.run, trial_id), points[-1][0], len(points))
            for trial_id in lived.training.get(name, [])
            if (points := curve_points(sweep.run, trial_id))
        }

    def refused(name: str, *options: str) -> None:
        """What is refused before anything starts needs no process of its own."""
        asked = ["run", str(sweep.spec), "--output", str(sweep.run.parent), *options]
        done = CliRunner(env=sweep.home.environment()).invoke(app, asked)
        lived.codes[name], lived.printed[name] = done.exit_code, done.output

    def training(name: str, command: Command, trials: int) -> None:
        """Waits until so many trials are done and another is in training."""

        def there() -> list[str]:
            return in_training(sweep.run, command) if len(finished(sweep.run)) >= trials else []

        lived.training[name] = command.until(there)

    command = sweep.start()
    command.until(lambda: finished(sweep.run))
    with command.paused():  # or all would be done by the time the other one is refused on a busy machine
        refused("held", "--resume")
    training("killed", command, 1)
    seconds = command.signal(signal.SIGKILL)
    command.surviving()  # its workers go on until they notice
    chapter("killed", command, seconds)
    refused("again")

    # From the interruption on, a file of a checkpoint, of which there are about twelve, takes 0.8 s to reach the disk.
    slow = slow_disk(sweep.home.folder, 0.8, from_the_start=False)
    command = sweep.start("--resume", **slow)
    training("interrupted", command, 3)
    Path(slow["TESTS_SLOW_DISK"]).touch()
    chapter("interrupted", command, interrupt(command))

    command = sweep.start("--resume")
    command.until(lambda: in_training(sweep.run, command))
    # Before the trial that is stopped, which could end meanwhile on a busy machine.
    lived.reported["running"] = from_outside("status", sweep.run)
    training("stopped", command, 4)
    lived.reported["stop"] = from_outside("stop", sweep.run)
    command.wait(60)
    chapter("stopped", command, 0)
    lived.reported["stopped"] = from_outside("status", sweep.run)

    for name, override in (("changed", f"train.steps={STEPS + 1}"), ("shrunk", "search.trials=2")):
        refused(name, "--resume", "--set", override)
    grown = ("--resume", "--set", "search.trials=4")
    chapter("grown", (command := sweep.carry_out(*grown)), command.seconds)
    (sweep.run / "report" / "index.html").unlink()
    chapter("nothing left", (command := sweep.carry_out(*grown)), command.seconds)
    lived.reported["finished"] = from_outside("status", sweep.run)
    lived.reported["nobody"] = from_outside("stop", sweep.run, code=2)
    print({name: round(seconds, 1) for name, seconds in lived.seconds.items()})
    return lived


def newest(run: Path, trial_id: str) -> int:
    marks = (run / "trials" / trial_id).glob(f"checkpoint-*/{COMPLETE}")
    return max((int(mark.parent.name.split("-")[1]) for mark in marks), default=0)


def test_a_run_that_another_process_holds_is_refused_and_says_who(life: Life) -> None:
    assert life.codes["held"] == 2
    assert f"process {life.sweep.commands[0].process.pid} on " in life.printed["held"]


def test_a_run_that_exists_is_refused_without_resume_which_is_named(life: Life) -> None:
    assert life.codes["again"] == 2
    assert "--resume" in life.printed["again"]


def test_a_dead_drivers_processes_end_and_its_lock_is_taken_over(life: Life) -> None:
    killed = life.sweep.commands[0]
    assert killed.process.returncode == -signal.SIGKILL
    assert killed.surviving() == []
    assert life.codes["interrupted"] == 130  # the next one held the folder


def test_an_interrupted_run_waits_for_a_slow_disk_and_ends_with_130(life: Life) -> None:
    assert life.codes["interrupted"] == 130
    assert "Ctrl-C again ends at once" in life.printed["interrupted"]
    assert life.seconds["interrupted"] > 5
    assert "Traceback" not in life.printed["interrupted"]
    assert "--resume" in life.printed["interrupted"]


@pytest.mark.slow
def test_a_terminated_run_saves_itself_as_after_ctrl_c(new: Any) -> None:
    sweep = new(SMALL)
    command = sweep.start()
    (trial, *_) = command.until(lambda: in_training(sweep.run, command))
    assert command.signal(signal.SIGTERM, group=True) < 10  # as timeout and systemd do
    assert command.process.returncode == 130
    assert "Traceback" not in command.stderr
    assert "--resume" in command.stderr
    assert newest(sweep.run, trial) == curve_points(sweep.run, trial)[-1][0] >= SAVED_EVERY


def test_a_run_is_seen_and_stopped_from_outside(life: Life) -> None:
    assert "running: process " in life.reported["running"]
    assert life.reported["stop"].startswith("stopped; ")
    assert life.codes["stopped"] == 130
    assert "--resume" in life.printed["stopped"]
    assert "stopped; " in life.reported["stopped"]
    assert "finished" in life.reported["finished"]
    assert "no process runs it; it is finished" in life.reported["nobody"]


def test_an_interrupted_trial_saves_itself_where_it_stands(life: Life) -> None:
    left = [left for name in ("interrupted", "stopped") for left in life.left[name].values()]
    assert left
    assert all(one.saved == one.step for one in left), left


def test_where_each_trial_goes_on_is_said_when_a_run_ends_and_when_it_is_resumed(life: Life) -> None:
    for chapter, following in pairwise(("interrupted", "stopped", "grown")):
        for trial_id, left in life.left[chapter].items():
            assert left.step == left.saved
            assert re.search(_place(trial_id, left), life.printed[chapter])
            assert re.search(_place(trial_id, left), life.printed[following])
    for trial_id, left in life.left["killed"].items():
        assert re.search(_place(trial_id, left), life.printed["interrupted"])


def _place(trial_id: str, left: Left) -> str:
    """What is said of where a trial goes on, as a regular expression."""
    if left.saved == STEPS:
        return f"{trial_id} is trained, and has to be scored"
    again = (left.step - left.saved) or "no"
    return rf"{trial_id} goes on at step {left.saved + 1}; {again} steps? (is|are) done again"


def test_no_finished_trial_is_run_again(life: Life) -> None:
    for chapter, before in life.before.items():
        assert before.items() <= life.before["grown"].items(), chapter


def test_a_resumed_run_spends_its_budget_which_may_have_grown_and_not_more(life: Life) -> None:
    assert life.codes["grown"] == 0
    assert len(life.before["stopped"]) < 7
    assert len(life.before["grown"]) == 9
    for cell in CELLS:
        trials = study(life.sweep.run, cell).trials
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
        assert {trial.user_attrs["trial_id"] for trial in trials} <= life.before["grown"].keys()


def test_unfinished_trials_resume_from_their_last_complete_checkpoint(life: Life) -> None:
    for chapter in ("killed", "interrupted", "stopped"):
        assert life.left[chapter]
        for trial_id, left in life.left[chapter].items():
            assert SAVED_EVERY <= left.saved <= left.step
            after = [step for step, _ in curve_points(life.sweep.run, trial_id)][left.logged :]
            assert after[:1] == ([left.saved + 1] if left.saved < STEPS else [])


def test_the_same_trials_are_proposed_as_without_interruptions(life: Life, tmp_path: Path) -> None:
    assert_proposed_as_if_undisturbed(life.sweep.run, life.sweep.spec, tmp_path / "proposed")


def test_what_a_resumed_trial_learns_is_bit_for_bit_what_it_would_have_learned(
    life: Life, tmp_path: Path
) -> None:
    resumed = {trial_id for trials in life.training.values() for trial_id in trials}
    assert resumed
    for trial_id in resumed:
        assert_learned_as_if_undisturbed(life.sweep.run, trial_id, tmp_path / "run")


def test_with_nothing_left_the_report_is_written_again_without_ray(life: Life) -> None:
    assert life.codes["nothing left"] == 0
    assert life.printed["nothing left"].endswith("report/index.html\n")
    assert len(life.commands["nothing left"].family) <= 2  # Ray's are more than ten
    assert (life.sweep.run / "report" / "index.html").exists()


@pytest.mark.parametrize(
    ("chapter", "word"), [("changed", "train.steps: this run was started with"), ("shrunk", "only grow")]
)
def test_a_changed_spec_is_refused(life: Life, chapter: str, word: str) -> None:
    assert life.codes[chapter] == 2
    assert word in life.printed[chapter]


def test_a_life_like_that_leaves_no_process(life: Life) -> None:
    assert [left for command in life.sweep.commands for left in command.surviving(patience=2)] == []
