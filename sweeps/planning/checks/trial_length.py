"""Settings that count in steps and reach beyond the end of a trial, so that they can't take effect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from sweeps.planning.checks import kept_weights
from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from sweeps.spec.settings import SearchConfig
from sweeps.spec.tree import CellPath
from trainables.config.train import TrainConfig
from trainables.data.loading import Data
from trainables.trial.config import TrialConfig

# In transformers' inverse square root schedule, where there is no warm-up.
INVERSE_SQRT_TIMESCALE = 10_000
LEAST_DECAY = 0.05  # of the learning rate, for a schedule to count as one that decays
LONGEST = (
    "batch_size",
    "gradient_accumulation",
    "warmup_steps",
    "warmup_ratio",
    "eval_steps",
    "save_steps",
    "logging_steps",
)
# What an interval that is longer than a trial means for it.
INTERVALS = {
    "eval_steps": "it is validated at its end only",
    "save_steps": "it keeps no checkpoint, and has none to resume from",
    "logging_steps": "its curve has one training loss, that of its end",
}

Finding = tuple[CellPath, str]


def warnings(
    draft: Draft, search: SearchConfig | None, configs: Sequence[TrialConfig], data: Data | None
) -> Iterator[Problem]:
    """Settings of a cell that reach beyond the end of its shortest trial, anywhere in its search space.

    Without ``data`` the length of trials that train for epochs is unknown, and nothing is reported about them.
    """
    if not configs:
        return
    train = _least_room([config.train for config in configs])
    if train.steps is None and data is None:
        return
    steps = train.steps or optimizer_steps(configs[0].model_copy(update={"train": train}), data)
    for path, what in (*_schedule(train, steps), *_intervals(train, steps), *_search(search, steps)):
        yield draft.problem(path, what, error=False)
    yield from kept_weights.warnings(draft, configs, steps)


def optimizer_steps(config: TrialConfig, data: Data | None) -> int:
    """The optimizer steps of a trial; over ``data``, if it trains for epochs."""
    if config.train.steps is not None:
        return config.train.steps
    # Long rows become several examples, and importing a tokenizer takes seconds.
    from trainables.trial import preview

    assert data is not None
    return preview.optimizer_steps(config, data)


def _least_room(trains: Sequence[TrainConfig]) -> TrainConfig:
    """The settings of the shortest trial with the longest warm-up and intervals that a search may propose.

    Domains are independent of one another, so that any of their values may meet; in the probes few of them do.
    """
    shortest = {key: min(_values(trains, key), default=None) for key in ("steps", "epochs")}
    longest = {key: max(_values(trains, key), default=None) for key in LONGEST}
    return trains[0].model_copy(update={**shortest, **longest})


def _values(trains: Sequence[TrainConfig], key: str) -> list[Any]:
    return [value for train in trains if (value := getattr(train, key)) is not None]


def _schedule(train: TrainConfig, steps: int) -> Iterator[Finding]:
    """A warm-up that doesn't end before the trial, and a decay that hardly begins."""
    warmup = train.total_warmup(steps)
    if warmup >= steps:
        key = "warmup_steps" if train.warmup_ratio is None else "warmup_ratio"
        advice = (
            "give fewer, or warmup_ratio (a share of the steps)" if key == "warmup_steps" else "give less"
        )
        what = (
            f"{_steps(warmup)} of warm-up, and a trial may have only {steps}: its learning rate rises to "
            f"{(steps - 1) / warmup:.0%} of what is given, and no further; {advice}"
        )
        yield ("train", key), what
    last = 1 / math.sqrt(1 + (steps - 1) / INVERSE_SQRT_TIMESCALE)
    if train.scheduler == "inverse_sqrt" and not warmup and last > 1 - LEAST_DECAY:
        what = (
            f"without a warm-up, inverse_sqrt falls to {last:.1%} in {_steps(steps)}, which is all but constant; "
            "give warmup_steps or warmup_ratio, or write constant"
        )
        yield ("train", "scheduler"), what


def _intervals(train: TrainConfig, steps: int) -> Iterator[Finding]:
    for key, consequence in INTERVALS.items():
        interval = getattr(train, key)
        if interval is not None and interval > steps:
            advice = f"give at most {steps}, or leave it out"
            yield (
                ("train", key),
                f"{_steps(interval)}, and a trial may have only {steps}: {consequence}; {advice}",
            )


def _search(search: SearchConfig | None, steps: int) -> Iterator[Finding]:
    if search is None or search.scheduler != "asha" or search.grace_steps is None:
        return
    if search.grace_steps >= steps:
        what = (
            f"{_steps(search.grace_steps)}, and a trial may have only {steps}: it ends before it is compared; "
            "give fewer, or leave it out"
        )
        yield ("search", "grace_steps"), what


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"
