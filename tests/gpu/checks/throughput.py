"""Tokens per second of trials beside a plain TRL script, in turn, in a process that has done both before."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.trials import train, trial_config
from tests.helpers.plain_trl import PlainScript
from trainables.trial.config import TrialConfig

# Of the trial's methods: the script's name of it.
METHODS = {"lora": "lora", "full": "full", "qlora-4bit": "qlora"}

SLOWER = 0.97  # a ratio below is more than noise


def cases(bench: Bench) -> Iterator[Case]:
    for method in bench.pick(tuple(METHODS), ("qlora-4bit",)):
        config = _config(bench, method, bench.pick(16, 2))
        yield Case(method, partial(_compared, bench, method), tuple(name for _, name in config.needs()))


def _compared(bench: Bench, method: str) -> Finding:
    warm, timed = _config(bench, method, 2), _config(bench, method, bench.pick(16, 2))
    if not bench.dry:
        _plain(bench, warm, METHODS[method])
        train(bench, warm)
    theirs = _plain(bench, timed, METHODS[method])
    ours = train(bench, timed).record.tokens_per_second or 0.0
    ratio = ours / theirs
    values = {"tokens_per_second": ours, "tokens_per_second_of_trl": theirs, "ratio": ratio}
    slower = not bench.dry and ratio < SLOWER
    return Finding(values, "a trial is slower than the script" if slower else None)


def _config(bench: Bench, method: str, steps: int) -> TrialConfig:
    return trial_config(
        bench, method, large=True, tokens=bench.pick(1024, 48), steps=steps, batch_size=bench.pick(8, 4)
    )


def _plain(bench: Bench, config: TrialConfig, method: str) -> float:
    from trainables.training.trainer_setup import clean_process

    assert config.model.path is not None
    settings: Any = config.train
    script = PlainScript(
        config.model.path,
        config.data,
        method,
        settings.steps,
        settings.batch_size,
        settings.learning_rate,
        bench.device,
    )
    clean_process()
    speed = script.tokens_per_second()
    clean_process()
    return speed
