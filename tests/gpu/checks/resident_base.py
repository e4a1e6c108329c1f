"""A model that stays loaded from trial to trial: how long a second trial's set-up takes, and that its losses are those
of the same trial in a process that loads the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.trials import largest_gap, train, trial_config

METHODS = ("lora", "qlora-4bit", "qlora-8bit", "qlora-hqq4bit")
LIMIT = 1e-3  # relative; on a GPU two runs of one trial need not be equal bit for bit


def cases(bench: Bench) -> Iterator[Case]:
    for method in bench.pick(METHODS, METHODS[:2]):
        config = trial_config(bench, method)
        yield Case(method, partial(_repeats, bench, method), tuple(name for _, name in config.needs()))


def _repeats(bench: Bench, method: str) -> Finding:
    steps = bench.pick(4, 2)
    first = train(bench, trial_config(bench, method, large=True, steps=steps))
    train(bench, trial_config(bench, method, large=True, steps=steps, seed=1))
    again = train(bench, trial_config(bench, method, large=True, steps=steps))
    gap = largest_gap(first.losses, again.losses)
    values = {
        "first_setup_seconds": first.record.setup_seconds,
        "later_setup_seconds": again.record.setup_seconds,
        "loss_gap": gap,
    }
    return Finding(values, None if gap <= LIMIT else f"losses of the later trial differ by {gap:.2g}")
