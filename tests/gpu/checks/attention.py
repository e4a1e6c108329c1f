"""The attention implementations and Liger's kernels: tokens per second, and losses beside those of SDPA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.trials import Trained, largest_gap, train, trial_config

# SDPA first: the others are compared with it. Once more in the end: nothing of Liger may stay in the process.
CHOICES: dict[str, dict[str, str]] = {
    "sdpa": {"attention": "sdpa"},
    "flash_attention_3": {"attention": "flash_attention_3"},
    "flash_attention_2": {"attention": "flash_attention_2"},
    "eager": {"attention": "eager"},
    "liger": {"attention": "sdpa", "kernels": "liger"},
    "sdpa again": {"attention": "sdpa"},
}
# Relative, over the first steps: kernels that compute the same differ by the rounding of 16 bits, wrong masks by more.
LIMIT = 0.02


def cases(bench: Bench) -> Iterator[Case]:
    found: dict[str, Trained] = {}
    for name, model in CHOICES.items():
        config = _config(bench, model)

        def run(name: str = name, config: Any = config) -> Finding:
            found[name] = trained = train(bench, config)
            return _beside(trained, found.get("sdpa"), name)

        yield Case(name, run, tuple(need for _, need in config.needs()))


def _config(bench: Bench, model: dict[str, str]) -> Any:
    tokens = bench.pick(1024, 48)
    data = {"train": str(bench.rows(tokens, equal=True))}
    return trial_config(
        bench, "lora", large=True, tokens=tokens, data=data, model=model, steps=bench.pick(8, 3)
    )


def _beside(trained: Trained, reference: Trained | None, name: str) -> Finding:
    values = {**trained.values(), "attention": trained.record.attention, "kernels": trained.record.kernels}
    if reference is None:
        return Finding(values, None if name == "sdpa" else "there is nothing to compare with: sdpa failed")
    gap = largest_gap(reference.losses, trained.losses)
    values["loss_gap_percent"] = 100 * gap
    return Finding(values, None if gap <= LIMIT else f"losses differ from those of sdpa by {100 * gap:.2g} %")
