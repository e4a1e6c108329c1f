"""What a tracker is fed from a run folder: which trials, which steps, and what a damaged one costs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sweeps.tracking import follower_process
from sweeps.tracking.base import FollowedTrial, TrackedRun, TrackedTrial
from sweeps.tracking.follower import RunFollower
from sweeps.tracking.trackers.tensorboard import TensorBoard
from tests.helpers import followed_runs
from tests.helpers.followed_runs import FAILED, OTHER, WELL, add_points
from trainables.results import Record
from trainables.storage import files


class Steps(TrackedTrial):
    """Keeps the steps that a trial was fed, and how it ended."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.status: str | None = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(step)

    def finish(self, record: Record | None) -> None:
        self.status = "open" if record is None else record.status


class Trials(TrackedRun):
    """Keeps what each trial was fed."""

    def __init__(self) -> None:
        self.trials: dict[str, Steps] = {}
        self.is_summarized = False

    def begin(self, trial: FollowedTrial) -> Steps:
        return self.trials.setdefault(trial.name, Steps())

    def summarize(self) -> None:
        self.is_summarized = True


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return followed_runs.write(tmp_path / "run")


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> Trials:
    """What a tracker at ``there`` was fed."""
    trials = Trials()
    monkeypatch.setattr(TensorBoard, "open", lambda tracker, run: trials)
    monkeypatch.setattr(TensorBoard, "destination", "there")
    return trials


def follower(run: Path) -> RunFollower:
    return RunFollower(run, TensorBoard())


def test_a_mark_without_a_destination_says_nothing_of_another(run: Path, fed: Trials) -> None:
    for trial, destination in ((WELL, ""), (OTHER, "there"), (FAILED, "elsewhere")):
        files.write_text(run / "tensorboard" / "sent" / trial, destination)
    follower(run).update()
    assert set(fed.trials) == {WELL, FAILED}
    assert (run / "tensorboard" / "sent" / WELL).read_text() == "there"


def test_the_newest_step_of_an_interrupted_trial_waits_for_its_other_points(run: Path, fed: Trials) -> None:
    trial = followed_runs.interrupt(run)
    following = follower(run)
    following.update()
    following.update(last=True)
    assert (fed.trials[trial].steps, fed.trials[trial].status) == ([1, 2], "open")
    assert (fed.trials[WELL].steps, fed.trials[WELL].status) == ([1, 2, 3], "done")
    add_points(run / "trials" / trial, 4)
    followed_runs.resume(run, trial)
    follower(run).update()
    assert (fed.trials[trial].steps, fed.trials[trial].status) == ([1, 2, 3, 4], "done")


def test_a_damaged_trial_costs_the_others_nothing_and_is_said_at_the_end(
    run: Path, fed: Trials, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    files.write_text(run / "trials" / WELL / "record.json", "{")
    monkeypatch.setenv(follower_process.SETTINGS, TensorBoard().model_dump_json())
    monkeypatch.setattr(sys, "argv", ["follower_process", "tensorboard", str(run)])
    (run / "input").write_text("summary\n")
    with (run / "input").open() as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        with pytest.raises(SystemExit, match=f"not sent to their end: {WELL}"):
            follower_process.main()
    assert {name: trial.status for name, trial in fed.trials.items()} == {OTHER: "done", FAILED: "failed"}
    assert fed.is_summarized
    assert f"{WELL} is not sent to its end: " in (said := capfd.readouterr().err)
    assert "record.json is damaged" in said
    assert not (run / "tensorboard" / "sent" / WELL).exists()
