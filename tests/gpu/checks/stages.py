"""Each stage but sft makes a step with LoRA, and scores: PPO and GRPO sample answers, others compare or read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.trials import train, trial_config
from trainables.data.embedded.command_kinds import KINDS

STAGES: dict[str, dict[str, Any]] = {
    "ppo": {"reward": "commands", "max_new_tokens": 8},
    "grpo": {"reward": "commands", "max_new_tokens": 8, "num_generations": 2, "beta": 0.1},
    "dpo": {},
    "kto": {},
    "orpo": {},
    "simpo": {},
    "reward": {},
    "pretrain": {},
    "classification": {
        "labels": sorted(set(KINDS.values())),
        "multi_label": False,
        "class_weights": "balanced",
    },
}


def cases(bench: Bench) -> Iterator[Case]:
    for stage in STAGES:
        yield Case(stage, partial(_makes_a_step, bench, stage))


def _makes_a_step(bench: Bench, stage: str) -> Finding:
    data = {"train": "commands", "max_samples": 80, "eval_fraction": 0.1, "eval_rows": 2}
    config = trial_config(
        bench, "lora", tokens=128, data=data, stage={"kind": stage, **STAGES[stage]}, steps=1
    )
    trained = train(bench, config)
    record = trained.record
    values = {"loss": trained.losses[0], str(record.quality_name): record.quality}
    finite = math.isfinite(trained.losses[0]) and record.quality is not None
    return Finding(values, None if finite else "the loss is not finite, or nothing was scored")
