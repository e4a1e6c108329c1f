"""Whether workers can divide a trial's batches among them and, if the spec asks for it, shard its weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainables.config.optimizers import NAMED

if TYPE_CHECKING:
    from trainables.trial.config import TrialConfig

WorkerProblem = tuple[tuple[str, str], str, bool]  # (section, setting), what is wrong, whether it is an error


def sharing_problems(config: TrialConfig, workers: int | str) -> Iterator[WorkerProblem]:
    """The reasons why this number of workers, or ``auto``, can't train this config."""
    if isinstance(workers, int):
        yield from _rows(config, workers)
    obstacle = config.method.workers_obstacle if config.method is not None else None
    if obstacle is None and config.train.optimizer_settings.updates_in_backward:
        obstacle = f"{config.train.optimizer_label} updates weights before workers exchange gradients"
    if obstacle is not None and workers != 1:
        yield ("resources", "workers"), f"{obstacle}; write workers: 1", True
    if config.train.sharding == "none" or config.method is None:
        return
    if workers == 1:
        what = "one worker has no other to shard weights with; set resources.workers, or leave sharding out"
        yield ("train", "sharding"), what, False
        return
    for obstacle in (config.stage.sharding_obstacle(config), config.method.sharding_obstacle):
        if obstacle is not None:
            yield ("train", "sharding"), f"{obstacle}; leave sharding out", True
    if not config.train.optimizer_settings.shardable:
        known = " or ".join(name for name, settings in NAMED.items() if settings.shardable)
        what = f"the state of {config.train.optimizer_label} can't be sharded; use {known}, or leave sharding out"
        yield ("train", "optimizer"), what, True
    if config.train.precision == "fp16":
        what = "the loss scaling of fp16 doesn't support sharded weights; use bf16, or leave sharding out"
        yield ("train", "precision"), what, True


def _rows(config: TrialConfig, workers: int) -> Iterator[WorkerProblem]:
    rows, least = config.train.batch_size, config.stage.min_worker_rows
    if rows % workers:
        what = f"{rows} rows can't be divided evenly among {workers} workers; use a multiple of {workers}"
        yield ("train", "batch_size"), what, True
    elif rows // workers < least:
        what = f"{config.stage.kind} needs at least {least} rows for each of {workers} workers"
        yield ("train", "batch_size"), what, True
