"""torch.compile: tokens per second with it and without, losses beside one another, and what compiling costs.

A dry run has no compiler: torch traces the layers, and runs them as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from unittest.mock import patch

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.trials import Trained, largest_gap, train, trial_config
from trainables.training import compiled_layers

CASES = ("off", "on", "on again")
LIMIT = 0.02  # relative: fused kernels round otherwise


def cases(bench: Bench) -> Iterator[Case]:
    found: dict[str, Trained] = {}
    for name in CASES:
        needs = () if bench.dry or name == "off" else ("compiler",)
        yield Case(name, partial(_trained, bench, name, found), needs)


def _trained(bench: Bench, name: str, found: dict[str, Trained]) -> Finding:
    config = trial_config(
        bench, "lora", large=True, steps=bench.pick(12, 2), batch_size=8, compile=name.split()[0]
    )
    with _tracing_alone() if bench.dry else ExitStack():
        found[name] = trained = train(bench, config)
    record = trained.record
    values = {**trained.values(), "train_seconds": record.train_seconds, "compiled": record.compiled}
    if name != "off" and (record.compiled or "no").startswith("no"):
        return Finding(values, "its layers were not compiled")
    if "off" not in found:
        return Finding(values, "there is nothing to compare with: the trial without it failed")
    gap = largest_gap(found["off"].losses, trained.losses)
    values["loss_gap_percent"] = 100 * gap
    return Finding(values, None if gap <= LIMIT else f"losses differ by {100 * gap:.2g} %")


def _tracing_alone() -> AbstractContextManager[object]:
    traced = partial(compiled_layers.compiled_layers, backend="eager")
    stack = ExitStack()
    stack.enter_context(patch.object(compiled_layers, "compiled_layers", traced))
    stack.enter_context(patch.object(compiled_layers.capabilities, "check_capability", _works))
    stack.enter_context(patch.object(compiled_layers, "multiplies_in_32_bits", lambda dtype: False))
    return stack


def _works(name: str) -> object:
    from trainables.system.capabilities import Capability

    return Capability(name, True, "traces alone")
