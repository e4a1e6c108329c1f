"""The memory of a trial is read in the trial, and measuring changes none of its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.checks.resume import weight_gap
from tests.gpu.trials import beyond_repetition, largest_gap, train, trial_config


def cases(bench: Bench) -> Iterator[Case]:
    for method in bench.pick(("lora", "full", "qlora-4bit"), ("lora",)):
        config = trial_config(bench, method)
        yield Case(method, partial(_compared, bench, method), tuple(name for _, name in config.needs()))


def _compared(bench: Bench, method: str) -> Finding:
    config = trial_config(bench, method)
    bare = [train(bench, config, keep=True) for _ in range(bench.pick(2, 1))]
    measured = train(bench, config, keep=True, measured=True)
    record = measured.record
    values = {
        "source": record.memory_source,
        "load_bytes": record.peak_load_bytes,
        "train_bytes": record.peak_train_bytes,
        "weight_bytes": record.weight_bytes,
        "gradient_bytes": record.gradient_bytes,
        "optimizer_bytes": record.optimizer_bytes,
        "loss_gap": largest_gap(bare[0].losses, measured.losses),
        "weight_gap": weight_gap(bare[0], measured),
        # Without measuring, of two trials: what the GPU itself doesn't repeat.
        "repeated_weight_gap": weight_gap(bare[0], bare[-1]),
    }
    for trained in (*bare, measured):
        trained.remove()
    return Finding(values, _problem(bench, values))


def _problem(bench: Bench, values: dict[str, object]) -> str | None:
    expected = "cuda" if bench.device == "cuda" else "rss"
    if values["source"] != expected or not values["train_bytes"]:
        return f"memory_source is {values['source']}, not {expected}, or there is no peak"
    gap, repeated = float(str(values["weight_gap"])), float(str(values["repeated_weight_gap"]))
    if beyond_repetition(gap, repeated):
        return f"measuring moves weights by {gap:.2g}; two trials without it differ by {repeated:.2g}"
    return None
