"""Checkpoints of a trial in training: when one counts as complete, which is the newest, and the progress it holds.

A checkpoint is complete once its marker ``complete.json`` is there: written last, with the size of every other file.
A trial that keeps its best weights resumes only from a checkpoint whose best one is there, too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainables.results import Comparison
from trainables.storage import files

Metrics = dict[str, tuple[float, int]]  # by name: the mean of some values, and how many they are

COMPLETE = "complete.json"  # the marker of a complete checkpoint, written last
# Beside the checkpoints, of stages that compare answers with what they were before training.
LOGPROBS_BEFORE = "logprobs-before.json"
SHARD_FILE = "share-{rank}-of-{workers}.pt"  # one worker's part of a sharded checkpoint


@dataclass
class Progress:
    """How far a trial has come; saved with every checkpoint, so that a resumed trial continues to count."""

    step: int = 0
    tokens: int = 0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    values: dict[str, float] = field(default_factory=dict)  # the last validation result
    stopped: bool = False  # by the search, or by its own curve: it only has to be scored
    finished: bool = False  # done before its last step, as its validations got no better
    stop_reason: str | None = None  # of either, in words; None: it was behind the others of its cell
    stopped_by_hand: bool = False
    # Of the steps since the last comparison that count for the next one, by training loss (`loss_window`).
    loss_sum: float = 0.0
    loss_steps: int = 0
    compared_by: Comparison = "validation"  # what the objective in `values` is of
    # Of the steps since the last log, on average over all workers.
    unlogged_loss: float = 0.0
    unlogged_steps: int = 0
    # Of what the stage logs besides the loss, by name: the mean since the last log, and of how many values.
    unlogged_metrics: Metrics = field(default_factory=dict)
    # Of validations (`best_validation`): the best, and the last that was better by more than `min_delta`.
    best_step: int = 0  # 0: none yet
    best_objective: float | None = None
    better_objective: float | None = None
    validations_since: int = 0  # how many there have been after that last better one
    kept_step: int = 0  # whose checkpoint must be there, besides this one's; 0: none

    def has_ended(self, steps: int) -> bool:
        """Whether nothing is left to train of a trial of ``steps`` steps."""
        return self.stopped or self.finished or self.step >= steps


def file_sizes(checkpoint: Path) -> dict[str, int]:
    """The bytes of each file in a checkpoint by name, without the marker, which records them."""
    paths = (path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE)
    return {str(path.relative_to(checkpoint)): path.stat().st_size for path in paths}


def mark_complete(checkpoint: Path, progress: Progress) -> None:
    """Writes a checkpoint's completion marker, once all of its files are on disk."""
    files.follow_umask(checkpoint)
    files.sync(checkpoint)  # the marker must not reach the disk before the files that it vouches for
    files.write_json(checkpoint / COMPLETE, {**asdict(progress), "files": file_sizes(checkpoint)})


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, and all files still have the size that they had then."""
    marker = _marker(checkpoint)
    if marker is None:
        return False
    sizes = file_sizes(checkpoint)
    return all(sizes.get(name) == size for name, size in marker.get("files", {}).items())


def _marker(checkpoint: Path) -> dict[str, Any] | None:
    """The content of a checkpoint's marker; ``None`` without one that can be read."""
    try:
        marker = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) else None


def checkpoint_at(trial_folder: Path, step: int) -> Path:
    """Where a trial's checkpoint of a step is."""
    return trial_folder / f"checkpoint-{step}"


def kept_beside(checkpoint: Path) -> Path | None:
    """The checkpoint with the best weights, which has to be there for a trial to resume from ``checkpoint``; ``None``
    where it is this one, or where the trial keeps its last weights.
    """
    step = (_marker(checkpoint) or {}).get("kept_step")
    kept = checkpoint_at(checkpoint.parent, step) if isinstance(step, int) and step > 0 else None
    return None if kept == checkpoint else kept


def can_go_on_from(checkpoint: Path) -> bool:
    """Whether a checkpoint is complete, and so is the one that it needs beside it."""
    kept = kept_beside(checkpoint)
    return is_complete(checkpoint) and (kept is None or is_complete(kept))


def remove_incomplete(trial_folder: Path) -> None:
    """Removes checkpoints whose writing was cut short: they take space, and count where only the newest are kept."""
    for path in trial_folder.glob("checkpoint-*"):
        if not is_complete(path):
            shutil.rmtree(path, ignore_errors=True)


def remove_superseded(trial_folder: Path, newest: int, kept: int, save_steps: int | None) -> None:
    """Removes the checkpoints before ``newest``, which is complete, but for that of the step ``kept`` and those that
    ``save_steps`` asks for.
    """
    for path in trial_folder.glob("checkpoint-*"):
        step = step_of(path)
        asked_for = save_steps is not None and step % save_steps == 0
        if step < newest and step != kept and not asked_for:
            shutil.rmtree(path, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was saved, from its name."""
    return int(checkpoint.name.partition("-")[2])


def newest_first(names: Iterable[str]) -> list[str]:
    """The checkpoints that are marked complete among the names of a trial's files, newest first.

    >>> newest_first(["checkpoint-9/complete.json", "checkpoint-10/complete.json", "checkpoint-11/model.safetensors"])
    ['checkpoint-10', 'checkpoint-9']
    """
    marked = [Path(name).parent for name in names if Path(name).match(f"checkpoint-*/{COMPLETE}")]
    return [checkpoint.name for checkpoint in sorted(marked, key=step_of, reverse=True)]


def newest_complete(trial: Path, can_resume: Callable[[Path], bool] = lambda _: True) -> Path | None:
    """The newest checkpoint in a trial's folder to go on from, among those that ``can_resume`` accepts."""
    complete = (path for path in trial.glob("checkpoint-*") if can_go_on_from(path) and can_resume(path))
    return max(complete, key=step_of, default=None)


def last_checkpoint(
    trial_folder: Path, can_resume: Callable[[Path], bool] = lambda _: True
) -> tuple[Path, Progress] | None:
    """The checkpoint that :func:`newest_complete` gives, and the progress at that point."""
    checkpoint = newest_complete(trial_folder, can_resume)
    if checkpoint is None:
        return None
    marker = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    return checkpoint, Progress(**{name: value for name, value in marker.items() if name != "files"})


def is_sharded(checkpoint: Path) -> bool:
    """Whether a checkpoint's weights are in shards, one file per worker that wrote it."""
    return any(checkpoint.glob(SHARD_FILE.format(rank="*", workers="*")))
