"""A model that a trial has trained, as another trial's config names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

COMPLETE = "complete.json"  # a checkpoint without this marker is not one
SHARE = "share-{rank}-of-{workers}.pt"  # of one whose weights the workers share


def contents(checkpoint: Path) -> dict[str, int]:
    """The files of a checkpoint but for its marker, by name, with their bytes; the marker holds these."""
    found = (path for path in checkpoint.rglob("*") if path.is_file() and path.name != COMPLETE)
    return {str(path.relative_to(checkpoint)): path.stat().st_size for path in found}


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, and none of its files is shorter than it was then, or gone."""
    try:
        marked = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    there = contents(checkpoint)
    return all(there.get(name) == size for name, size in marked.get("files", {}).items())


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint was saved at: its name says it."""
    return int(checkpoint.name.partition("-")[2])


def newest(trial: Path, is_ours: Callable[[Path], bool] = lambda _: True) -> Path | None:
    """A trial's newest complete checkpoint, of those that ``is_ours`` takes."""
    complete = (path for path in trial.glob("checkpoint-*") if is_complete(path) and is_ours(path))
    return max(complete, key=step_of, default=None)


def is_shared(checkpoint: Path) -> bool:
    """Whether its weights are in shares, a file for each of the workers that wrote it."""
    return any(checkpoint.glob(SHARE.format(rank="*", workers="*")))
