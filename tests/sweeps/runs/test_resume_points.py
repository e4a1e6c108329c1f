"""Where a run says that its unfinished trials go on, and how many steps they train again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.runs.resume_points import resume_points
from tests.helpers import run_folders
from trainables import results
from trainables.storage import files
from trainables.storage.url_store import Store
from trainables.training.checkpoints import Progress, mark_complete, remove_incomplete

TRIAL = "3f2a9c81d0b4"


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    """A trial of 100 steps that has trained seven."""
    folder = tmp_path / "trials" / TRIAL
    files.write_json(folder / "config.json", {"cell": "sft-full", "train": {"steps": 100}})
    points = [{"step": step, "name": "train_loss", "value": 1.0} for step in range(1, 8)]
    (folder / "curve.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    return folder


def save(trial: Path, step: int, complete: bool = True) -> Path:
    checkpoint = trial / f"checkpoint-{step}"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    if complete:
        mark_complete(checkpoint, Progress(step=step))
    return checkpoint


def said(run: Path, store: Store | None = None) -> list[str]:
    return [str(point) for point in resume_points(run, store)]


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ([], "begins again at step 1; 7 steps are done again"),
        ([5], "goes on at step 6; 2 steps are done again"),
        ([5, 6], "goes on at step 7; 1 step is done again"),
        ([7], "goes on at step 8; no steps are done again"),
        ([100], "is trained, and has to be scored"),
    ],
)
def test_a_trial_goes_on_after_its_newest_whole_checkpoint(
    trial: Path, saved: list[int], expected: str
) -> None:
    for step in saved:
        save(trial, step)
    save(trial, 90, complete=False)
    assert said(trial.parents[1]) == [f"sft-full {TRIAL} {expected}"]


def test_steps_that_no_point_was_logged_of_count_by_the_record(trial: Path) -> None:
    save(trial, 5)
    results.write_record(trial, run_folders.record(TRIAL, status="interrupted", steps=9))
    assert said(trial.parents[1]) == [f"sft-full {TRIAL} goes on at step 6; 4 steps are done again"]


def test_trials_that_have_ended_or_not_begun_are_not_named(trial: Path) -> None:
    results.write_record(trial, run_folders.record(TRIAL, steps=7))
    files.write_json(trial.with_name("aaaaaaaaaaaa") / "config.json", {"cell": "sft-full", "train": {}})
    assert said(trial.parents[1]) == []


def test_at_a_url_the_checkpoints_there_count(trial: Path, tmp_path: Path) -> None:
    save(trial, 7)  # not uploaded
    store = Store((tmp_path / "store").as_uri())
    for name in (
        "checkpoint-4/complete.json",
        "checkpoint-10/model.safetensors",
        "checkpoint-3/complete.json",
    ):
        store.write(f"trials/{TRIAL}/{name}", b"{}")
    assert said(trial.parents[1], store) == [f"sft-full {TRIAL} goes on at step 5; 3 steps are done again"]


def test_a_checkpoint_that_was_cut_short_is_removed_and_a_whole_one_stays(trial: Path) -> None:
    whole, half = save(trial, 5), save(trial, 6, complete=False)
    remove_incomplete(trial)
    assert (whole.exists(), half.exists()) == (True, False)
