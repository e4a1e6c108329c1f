"""A run folder that cannot be written to is no failing trial, waited for, and gives no failed record."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.trials import curve, make_config, run, write_rows
from tests.sweeps.cluster.test_actors import NOT_COMPARED, Heard, run_job
from trainables.results import read_record
from trainables.runner import lifecycle, training_phase, worker_loop
from trainables.runner.run import TrialContext, run_trial
from trainables.storage import outage
from trainables.training.checkpoints import is_complete, last_checkpoint
from trainables.training.training_callback import NoControl
from trainables.trial.config import TrialConfig


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere")


def wrapped() -> RuntimeError:
    """What a library makes of it that has written in its own way."""
    error = RuntimeError("the file could not be written")
    error.__cause__ = OSError(errno.EIO, os.strerror(errno.EIO))
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (RuntimeError("IoError: No space left on device (os error 28)"), True),  # as safetensors says it
        (wrapped(), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (ValueError("the loss is nan"), False),
    ],
)
def test_failures_of_the_storage_are_distinguished_from_those_of_the_trial(
    tmp_path: Path, error: Exception, expected: bool
) -> None:
    assert (outage.storage_failure(error, tmp_path) is not None) is expected


def test_any_error_counts_as_a_storage_failure_while_nothing_can_be_written(tmp_path: Path) -> None:
    gone = tmp_path / "unmounted"
    assert str(gone) in (outage.storage_failure(ValueError("strange"), gone) or "")
    assert outage.write_failure(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_an_outage_is_waited_for_but_not_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PAUSE_SECONDS", 0.01)
    folder, looks = tmp_path / "later", []

    def meanwhile() -> None:
        looks.append(1)
        if len(looks) == 3:
            folder.mkdir()

    assert outage.wait_until_writable(folder, meanwhile)
    assert len(looks) == 3
    monkeypatch.setattr(outage, "PATIENCE_SECONDS", 0.05)
    assert not outage.wait_until_writable(tmp_path / "never")


@pytest.fixture
def config(tiny_model: Path, tmp_path: Path) -> TrialConfig:
    return make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), steps=6, save_steps=2)


def test_a_trial_that_cannot_write_gets_no_failed_record(
    config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_save", no_space)
    with pytest.raises(OSError, match="No space left"):
        run_trial(config, TrialContext(tmp_path), NoControl())
    assert read_record(tmp_path / "trials" / config.trial_id()) is None


def test_a_worker_resumes_the_trial_from_its_checkpoint_once_it_can_write(
    config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(config, tmp_path / "peace")
    mark, calls = training_phase.TrialCallback.on_save, []

    def full(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        calls.append(state.global_step)
        if state.global_step == 4 and calls.count(4) == 1:
            no_space()
        mark(self, args, state, control, **kwargs)

    monkeypatch.setattr(training_phase.TrialCallback, "on_save", full)
    monkeypatch.setattr(worker_loop.HubControl, "interrupted", lambda self: False)
    monkeypatch.setattr(worker_loop.HubControl, "may_save", lambda self: True)
    job = {
        "trial_id": config.trial_id(), "config": config.model_dump(mode="json"), "run": str(tmp_path / "run"),
        "slot": "s", "slot_trial": 0, "handed_over_at": None, "attempt": 1, "out_of_memory_kills": False,
        **NOT_COMPARED,
    }  # fmt: skip
    record = run_job(job, Heard(), Heard())
    assert calls == [2, 4, 4, 6]  # it continued from step 2
    assert (record["status"], record["quality"]) == ("done", expected.quality)
    assert curve(config, tmp_path / "run") == curve(config, tmp_path / "peace")


# Checkpoints


def test_an_incomplete_checkpoint_is_not_used(config: TrialConfig, tmp_path: Path) -> None:
    run(config, tmp_path)
    folder = tmp_path / "trials" / config.trial_id()
    newest, progress = last_checkpoint(folder) or (folder, None)
    assert (newest.name, progress and progress.step) == ("checkpoint-6", 6)
    weights = next(newest.glob("*.safetensors"))
    os.truncate(weights, weights.stat().st_size // 2)
    assert not is_complete(newest)
    older, progress = last_checkpoint(folder) or (folder, None)
    assert (older.name, progress and progress.step) == ("checkpoint-4", 4)
    (older / "trainer_state.json").unlink()
    assert (last_checkpoint(folder) or (folder,))[0].name == "checkpoint-2"
    (folder / "checkpoint-2" / "complete.json").write_text("{")
    assert last_checkpoint(folder) is None
