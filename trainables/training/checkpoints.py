"""Checkpoints of a trial in training: when one counts as complete, which is the newest, and the progress it holds.

A checkpoint is complete once its marker ``complete.json`` is there: written last, with the size of every other file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trainables.results import Comparison
from trainables.storage import files

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
    stop_reason: str | None = None  # in words; None: it was behind the others of its cell
    stopped_by_hand: bool = False
    # Of the steps since the last comparison that count for the next one, by training loss (`loss_window`).
    loss_sum: float = 0.0
    loss_steps: int = 0
    compared_by: Comparison = "validation"  # what the objective in `values` is of
    # Of the steps since the last log, on average over all workers.
    unlogged_loss: float = 0.0
    unlogged_steps: int = 0


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
    try:
        marker = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    sizes = file_sizes(checkpoint)
    return all(sizes.get(name) == size for name, size in marker.get("files", {}).items())


def remove_incomplete(trial_folder: Path) -> None:
    """Removes checkpoints whose writing was cut short: they take space, and count where only the newest are kept."""
    for path in trial_folder.glob("checkpoint-*"):
        if not is_complete(path):
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
    """The newest complete checkpoint in a trial's folder, among those that ``can_resume`` accepts."""
    complete = (path for path in trial.glob("checkpoint-*") if is_complete(path) and can_resume(path))
    return max(complete, key=step_of, default=None)


def last_checkpoint(
    trial_folder: Path, can_resume: Callable[[Path], bool] = lambda _: True
) -> tuple[Path, Progress] | None:
    """A trial's newest complete checkpoint that ``can_resume`` accepts, and the progress at that point."""
    checkpoint = newest_complete(trial_folder, can_resume)
    if checkpoint is None:
        return None
    marker = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    return checkpoint, Progress(**{name: value for name, value in marker.items() if name != "files"})


def is_sharded(checkpoint: Path) -> bool:
    """Whether a checkpoint's weights are in shards, one file per worker that wrote it."""
    return any(checkpoint.glob(SHARD_FILE.format(rank="*", workers="*")))
