"""A base model that stays in memory from trial to trial: how long a later trial's set-up takes, and that its losses are
those of the same trial on a base that was loaded for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.trials import largest_gap, train, trial_config
from trainables.trial.resident_base import ResidentBase

METHODS = ("lora", "qlora-4bit", "qlora-hqq4bit")
LIMIT = 1e-3  # relative; on a GPU two runs of one trial need not be equal bit for bit


def cases(bench: Bench) -> Iterator[Case]:
    for method in bench.pick(METHODS, ("qlora-4bit",)):
        config = trial_config(bench, method)
        yield Case(method, partial(_repeats, bench, method), tuple(name for _, name in config.needs()))


def _repeats(bench: Bench, method: str) -> Finding:
    # HQQ takes seconds for the large one.
    settings = {"large": "hqq" not in method, "steps": bench.pick(4, 2)}
    fresh = train(bench, trial_config(bench, method, **settings))
    bases = ResidentBase()
    # Another trial before it, so that it finds a base that one has trained on.
    train(bench, trial_config(bench, method, seed=1, **settings), bases=bases)
    later = train(bench, trial_config(bench, method, **settings), bases=bases)
    bases.drop()
    gap = largest_gap(fresh.losses, later.losses)
    values = {
        "base": later.record.base_origin,
        "first_setup_seconds": fresh.record.setup_seconds,
        "later_setup_seconds": later.record.setup_seconds,
        "loss_gap": gap,
    }
    if later.record.base_origin != "kept":
        return Finding(values, "the base was not kept for the later trial")
    return Finding(values, None if gap <= LIMIT else f"losses of the later trial differ by {gap:.2g}")
