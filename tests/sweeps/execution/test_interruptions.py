"""Runs that are interrupted in every way at every moment, on a slow disk: no step is trained twice, none is lost."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sweeps.cli import app
from tests.helpers.sweep_runs import Sweep, assert_learned_as_if_undisturbed
from tests.helpers.sweeps import METHODS, SPEC, Command, curve_points, finished, in_training, slow_disk
from trainables import results
from trainables.training.checkpoints import COMPLETE

pytestmark = [pytest.mark.sweep, pytest.mark.slow, pytest.mark.timeout(3600)]

FSYNC_SECONDS = 0.5  # of each of the twelve files of a checkpoint


def training(sweep: Sweep, command: Command) -> bool:
    return bool(in_training(sweep.run, command))


def saving(sweep: Sweep, command: Command) -> bool:
    checkpoints = [*sweep.run.glob("trials/*/checkpoint-*")]
    return any(
        not (path / COMPLETE).exists() and path.stat().st_mtime > command.began for path in checkpoints
    )


def scoring(sweep: Sweep, command: Command) -> bool:
    ended = finished(sweep.run)
    return any(path.parent.name not in ended for path in sweep.run.glob("trials/*/model"))


def setting_up(sweep: Sweep, command: Command) -> bool:
    return "at a time" in command.stderr


def to_process(number: int) -> Callable[[Sweep, Command], object]:
    return lambda sweep, command: command.signal(number)


def to_group(number: int) -> Callable[[Sweep, Command], object]:
    return lambda sweep, command: command.signal(number, group=True)


def stop(sweep: Sweep, command: Command) -> None:
    from typer.testing import CliRunner

    stopped = CliRunner().invoke(app, ["stop", str(sweep.run)])
    assert stopped.exit_code == 0, stopped.output
    command.wait(60)


WAYS = {
    "ctrl-c": to_group(signal.SIGINT),
    "SIGINT": to_process(signal.SIGINT),
    "timeout": to_group(signal.SIGTERM),
    "SIGTERM": to_process(signal.SIGTERM),
    "stop": stop,
}
MOMENTS = {"training": training, "saving": saving, "scoring": scoring, "set-up": setting_up}
# Each way at two moments and each moment in two ways at least, for each method.
CHAPTERS = {
    "full": [
        ("saving", "ctrl-c"),
        ("training", "SIGTERM"),
        ("set-up", "timeout"),
        ("scoring", "stop"),
        ("saving", "timeout"),
        ("training", "SIGINT"),
        ("scoring", "ctrl-c"),
        ("set-up", "stop"),
    ],
    "lora": [
        ("training", "ctrl-c"),
        ("saving", "stop"),
        ("scoring", "SIGTERM"),
        ("set-up", "ctrl-c"),
        ("training", "timeout"),
        ("saving", "SIGINT"),
        ("scoring", "timeout"),
        ("set-up", "SIGTERM"),
    ],
}


@dataclass
class Interrupted:
    """A run that was interrupted again and again, and then went on to its end."""

    sweep: Sweep
    codes: list[int] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)  # steps of all trials, after each chapter
    incomplete: list[list[str]] = field(default_factory=list)


def steps_trained(run: Path) -> int:
    return sum(
        len(curve_points(run, folder.name))
        for folder in results.trial_folders(run)
        if (folder / "curve.jsonl").exists()
    )


@pytest.fixture(scope="module", params=sorted(CHAPTERS))
def interrupted(new: Any, request: pytest.FixtureRequest) -> Interrupted:
    method = "{kind: full}" if request.param == "full" else "{kind: lora, rank: 4}"
    spec = SPEC.replace(METHODS, f"methods: [{method}]\n").replace("concurrent: 2", "concurrent: 1")
    sweep = new(spec.replace("trials: 3", "trials: 4"))
    seen, slow = Interrupted(sweep), slow_disk(sweep.home.folder, FSYNC_SECONDS)
    for number, (moment, way) in enumerate(CHAPTERS[request.param]):
        command = sweep.start(*(["--resume"] if number else []), **slow)
        command.until(lambda command=command, moment=moment: MOMENTS[moment](sweep, command))
        WAYS[way](sweep, command)
        seen.codes.append(command.process.returncode)
        seen.printed.append(command.stderr)
        seen.trained.append(steps_trained(sweep.run))
        halves = [path for path in sweep.run.glob("trials/*/checkpoint-*") if not (path / COMPLETE).exists()]
        seen.incomplete.append([str(path) for path in halves])
    seen.codes.append(sweep.carry_out("--resume").process.returncode)
    return seen


def test_each_ends_with_130_and_the_last_with_0(interrupted: Interrupted) -> None:
    assert interrupted.codes == [130] * (len(interrupted.codes) - 1) + [0]
    assert not any("Traceback" in printed for printed in interrupted.printed)


def test_no_step_is_trained_twice(interrupted: Interrupted) -> None:
    for trial_id in finished(interrupted.sweep.run):
        if (interrupted.sweep.run / "trials" / trial_id / "curve.jsonl").exists():
            steps = Counter(step for step, _ in curve_points(interrupted.sweep.run, trial_id))
            assert {step: count for step, count in steps.items() if count > 1} == {}, trial_id


def test_no_checkpoint_is_left_half_written(interrupted: Interrupted) -> None:
    assert interrupted.incomplete == [[]] * len(interrupted.incomplete)


def test_the_end_is_bit_for_bit_that_of_an_undisturbed_run(interrupted: Interrupted, tmp_path: Path) -> None:
    for trial_id in finished(interrupted.sweep.run):
        assert_learned_as_if_undisturbed(interrupted.sweep.run, trial_id, tmp_path / "run")


def test_the_second_ctrl_c_ends_at_once_and_says_what_is_done_again(new: Any) -> None:
    sweep = new(SPEC.replace(METHODS, "methods: [{kind: full}]\n").replace("concurrent: 2", "concurrent: 1"))
    command = sweep.start(**slow_disk(sweep.home.folder, 5.0))
    command.until(lambda: saving(sweep, command))
    command.process.send_signal(signal.SIGINT)
    command.until(lambda: "Ctrl-C again ends at once" in command.stderr)
    time.sleep(1.5)  # within a second it is the same one, passed on twice
    assert command.signal(signal.SIGINT) < 15
    assert command.process.returncode == 130
    (trial,) = sweep.run.glob("trials/*/checkpoint-*")
    steps = max(step for step, _ in curve_points(sweep.run, trial.parent.name))
    again = f"{trial.parent.name} begins again at step 1; {steps} steps are done again"
    assert again in command.stderr
    resumed = sweep.start("--resume")
    resumed.until(lambda: again in resumed.stderr)
    resumed.end()


def test_where_the_notice_is_too_short_full_fine_tuning_does_not_try_and_says_so(new: Any) -> None:
    sweep = new(SPEC.replace(METHODS, "methods: [{kind: full}]\n").replace("concurrent: 2", "concurrent: 1"))
    command = sweep.start("--set", "resources.notice_seconds=3", **slow_disk(sweep.home.folder, 1.0))
    command.until(lambda: training(sweep, command))  # its first checkpoint was written, in twelve seconds
    command.signal(signal.SIGTERM)
    (checkpoint,) = sweep.run.glob("trials/*/checkpoint-*/complete.json")  # that of step 20
    assert f"{checkpoint.parents[1].name} does not save itself" in command.stderr
