"""What a plan says of trials that may be done early, and of those that keep their best weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    trains = [(cell, cell.first().train) for cell in cells if cell.holds_out]
    early = [cell for cell, train in trains if train.early_stopping is not None]
    if early:
        yield (
            f"a trial{_of(early, cells)} is done early once its validations get no better (train.early_stopping), a "
            "finalist too, so that a cell may use less than its budget"
        )
    keeping = [cell for cell, train in trains if train.keep == "best"]
    if keeping:
        sizes = [size for cell in keeping if (size := checkpoint_bytes(cell)) is not None]
        most = f" of up to {gib(max(sizes))}" if len(sizes) == len(keeping) else ""
        yield (
            f"the model of a trial{_of(keeping, cells)} is that of its best validation (train.keep: best); while it "
            f"trains, it holds one more checkpoint{most} on disk, and each new best is written there"
        )


def _of(some: Sequence[Cell], cells: Sequence[Cell]) -> str:
    """`` of sft-lora`` where it is so of some cells alone."""
    names = [cell.name for cell in some]
    return "" if len(some) == len(cells) else f" of {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def warnings(draft: Draft, configs: Sequence[TrialConfig], steps: int) -> Iterator[Problem]:
    """A warning where no trial can be done early, since none has so many validations before its last step. ``steps``:
    of the shortest trial.
    """
    earliest = [_earliest_end(config.train) for config in configs]
    latest = max((step for step in earliest if step is not None), default=0)
    if latest >= steps and all(step is not None for step in earliest):
        what = (
            f"a trial is done early at step {latest} at the earliest, and may have only {counted(steps, 'step')}; give "
            "a smaller patience, or fewer train.eval_steps"
        )
        yield draft.problem(("train", "early_stopping"), what, error=False)


def _earliest_end(train: TrainConfig) -> int | None:
    """The step of the first validation after which a trial may be done early; ``None`` where there is none."""
    if train.early_stopping is None or train.eval_steps is None:
        return None
    # The first validation is better than none.
    return (train.early_stopping.patience + 1) * train.eval_steps
