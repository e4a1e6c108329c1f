"""torch.compile: tokens per second with it and without, losses beside one another, and what compiling costs."""

from __future__ import annotations

from collections.abc import Iterator

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding, Skip
from tests.gpu.trials import Trained, largest_gap, train, trial_config
from trainables.config.train import TrainConfig

CASES = ("off", "on", "on again")
LIMIT = 0.02  # relative: fused kernels round otherwise


def cases(bench: Bench) -> Iterator[Case]:
    found: dict[str, Trained] = {}
    for compiled in CASES:
        yield Case(compiled, lambda compiled=compiled: _trained(bench, compiled, found))


def _trained(bench: Bench, compiled: str, found: dict[str, Trained]) -> Finding:
    if "compile" not in TrainConfig.model_fields:
        raise Skip("trials have no setting train.compile")
    setting = {"compile": compiled.split()[0]}
    config = trial_config(bench, "lora", large=True, steps=bench.pick(12, 2), batch_size=8, **setting)
    found[compiled] = trained = train(bench, config)
    values = {**trained.values(), "train_seconds": trained.record.train_seconds}
    if "off" not in found:
        return Finding(values)
    gap = largest_gap(found["off"].losses, trained.losses)
    values["loss_gap_percent"] = 100 * gap
    return Finding(values, None if gap <= LIMIT else f"losses differ by {100 * gap:.2g} %")
