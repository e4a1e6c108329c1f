"""A model that a trial has trained, as another trial's config names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from trainables.frozen import Frozen

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


class Trained(Frozen):
    """What a trial left. While that trial isn't known yet, ``cell`` alone says whose best it will be.

    >>> Trained(cell="sft-lora").identity
    'sft-lora'
    """

    cell: str | None = None  # of the same run
    # Its id, with @STEP for a checkpoint; for a folder that no trial left, the fingerprint of its contents.
    trial: str | None = None
    folder: Path | None = None  # its model/: weights or an adapter

    @property
    def identity(self) -> str | None:
        """What stands for it in another trial's id: no path does."""
        return self.trial or self.cell

    @property
    def label(self) -> str:
        """``the best of sft-lora`` or ``trial 3f2a9c81d0b4``."""
        return f"the best of {self.cell}" if self.cell else f"trial {self.trial}"

    @property
    def is_adapter(self) -> bool:
        """Whether what is there has to be put on what it was trained on."""
        return self.folder is not None and (self.folder / "adapter_config.json").is_file()
