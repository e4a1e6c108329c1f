"""Each method trains: the loss is finite and falls, the held-out rows are scored, the result is saved."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.trials import METHODS, WHOLE, train, trial_config

# One for each way to load or attach.
DRY = ("full", "dora", "lisa", "adalora", "qlora-8bit", "qlora-hqq4bit", "qlora-eetq8bit")
# Ranks fall meanwhile, or the layers change: so few steps need not show that they learn.
SLOW = ("badam", "adalora")
HELD_OUT = {"eval_fraction": 0.1, "eval_rows": 4}


def cases(bench: Bench) -> Iterator[Case]:
    for method in bench.pick(tuple(METHODS), DRY):
        config = trial_config(bench, method)
        yield Case(method, partial(_trains, bench, method), tuple(name for _, name in config.needs()))


def _trains(bench: Bench, method: str) -> Finding:
    # Saving all weights of the large model takes seconds, and so does its quantization by HQQ.
    large = method not in WHOLE and "hqq" not in method
    config = trial_config(
        bench, method, large=large, data=HELD_OUT, steps=bench.pick(12, 6), batch_size=bench.pick(8, 4)
    )
    trained = train(bench, config, measured=not bench.dry)
    record = trained.record
    values = {**trained.values(), "loss_on_test_rows": record.quality, "setup_seconds": record.setup_seconds}
    if record.quality is None:
        return Finding(values, "the test rows were not scored")
    return Finding(values, None if method in SLOW else trained.fell())
