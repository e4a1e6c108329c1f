"""Checkpoints of a trial in training: their files, whether they are complete, and which is the newest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

COMPLETE = "complete.json"  # the marker of a complete checkpoint, written last
SHARD_FILE = "share-{rank}-of-{workers}.pt"  # one worker's part of a sharded checkpoint


def file_sizes(checkpoint: Path) -> dict[str, int]:
    """The bytes of each file in a checkpoint by name, without the marker, which records them."""
    paths = (path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE)
    return {str(path.relative_to(checkpoint)): path.stat().st_size for path in paths}


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, and all files still have the size that they had then."""
    try:
        marker = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    sizes = file_sizes(checkpoint)
    return all(sizes.get(name) == size for name, size in marker.get("files", {}).items())


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was saved, from its name."""
    return int(checkpoint.name.partition("-")[2])


def newest_complete(trial: Path, can_resume: Callable[[Path], bool] = lambda _: True) -> Path | None:
    """The newest complete checkpoint in a trial's folder, among those that ``can_resume`` accepts."""
    complete = (path for path in trial.glob("checkpoint-*") if is_complete(path) and can_resume(path))
    return max(complete, key=step_of, default=None)


def is_sharded(checkpoint: Path) -> bool:
    """Whether a checkpoint's weights are in shards, one file per worker that wrote it."""
    return any(checkpoint.glob(SHARD_FILE.format(rank="*", workers="*")))
