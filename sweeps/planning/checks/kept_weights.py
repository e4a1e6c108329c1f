"""What a plan says of trials that may be done early, and of those that keep their best weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sweeps.planning.cell import Cell
from sweeps.planning.checkpoint_size import checkpoint_bytes
from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from trainables.config.train import TrainConfig
from trainables.system.byte_sizes import gib
from trainables.system.wording import counted
from trainables.trial.config import TrialConfig


def notes(cells: Sequence[Cell]) -> Iterator[str]:
    """By which rule trials are done early, and what keeping the best weights takes."""
    holding_out = [cell for cell in cells if cell.holds_out]
    early = [cell for cell in holding_out if _values(cell, "early_stopping") != [None]]
    if early:
        yield (
            f"a trial{_of(early, cells)} with train.early_stopping is done early once its validations get no better, a "
            "finalist too, so that a cell may use less than its budget"
        )
    keeping = [cell for cell in holding_out if "best" in _values(cell, "keep")]
    if keeping:
        sizes = [size for cell in keeping if (size := checkpoint_bytes(cell)) is not None]
        most = f" of up to {gib(max(sizes))}" if len(sizes) == len(keeping) else ""
        yield (
            f"the model of a trial{_of(keeping, cells)} with train.keep: best is that of its best validation; while it "
            f"trains, it holds one more checkpoint{most} on disk, and each new best is written there"
        )


def _values(cell: Cell, setting: str) -> list[Any]:
    """The values of a setting of ``train`` that a cell's trials may have."""
    searched = cell.space.get(f"train.{setting}")
    return list(searched.probes()) if searched is not None else [getattr(cell.first().train, setting)]


def _of(some: Sequence[Cell], cells: Sequence[Cell]) -> str:
    """`` of sft-lora`` where it is so of some cells alone."""
    names = [cell.name for cell in some]
    return "" if len(some) == len(cells) else f" of {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def warnings(draft: Draft, configs: Sequence[TrialConfig], steps: int) -> Iterator[Problem]:
    """A warning where no trial can be done early, since none has so many validations before its last step. ``steps``:
    of the shortest trial.
    """
    ends = [_earliest_end(config.train) for config in configs]
    earliest = min((step for step in ends if step is not None), default=0)
    if earliest >= steps and all(step is not None for step in ends):
        what = (
            f"a trial is done early at step {earliest} at the earliest, and may have only {counted(steps, 'step')}; "
            "give a smaller patience, or fewer train.eval_steps"
        )
        yield draft.problem(("train", "early_stopping"), what, error=False)


def _earliest_end(train: TrainConfig) -> int | None:
    """The step of the first validation after which a trial may be done early; ``None`` where there is none."""
    if train.early_stopping is None or train.eval_steps is None:
        return None
    # The first validation is better than none.
    return (train.early_stopping.patience + 1) * train.eval_steps
