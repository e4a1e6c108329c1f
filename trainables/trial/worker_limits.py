"""Whether a trial's workers can share its rows and, where the spec asks for it, its weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.trial.config import TrialConfig

OPTIMIZERS = ("adamw", "sgd")  # those whose state can be shared

Wrong = tuple[tuple[str, str], str, bool]  # what stands where, what is wrong, and whether it is an error


def problems(config: TrialConfig, workers: int | str) -> Iterator[Wrong]:
    """What so many workers, or as many as it takes (``auto``), can't do with this config."""
    if isinstance(workers, int):
        yield from _rows(config, workers)
    if config.train.sharding == "none" or config.method is None:
        return
    if workers == 1:
        what = "one worker has nobody to share weights with; give resources.workers, or leave sharding out"
        yield ("train", "sharding"), what, False
        return
    for unshared in (config.stage.unshared(config), config.method.unshared):
        if unshared is not None:
            yield ("train", "sharding"), f"{unshared}; leave sharding out", True
    if config.train.optimizer not in OPTIMIZERS:
        known = " or ".join(OPTIMIZERS)
        what = f"the state of {config.train.optimizer} can't be shared; use {known}, or leave sharding out"
        yield ("train", "optimizer"), what, True
    if config.train.precision == "fp16":
        what = "the loss scaling of fp16 isn't made for shared weights; use bf16, or leave sharding out"
        yield ("train", "precision"), what, True


def _rows(config: TrialConfig, workers: int) -> Iterator[Wrong]:
    rows, least = config.train.batch_size, config.stage.least_batch
    if rows % workers:
        what = f"{rows} rows can't be shared evenly by {workers} workers; use a multiple of {workers}"
        yield ("train", "batch_size"), what, True
    elif rows // workers < least:
        what = f"{config.stage.kind} needs {least} rows or more for each of {workers} workers"
        yield ("train", "batch_size"), what, True
