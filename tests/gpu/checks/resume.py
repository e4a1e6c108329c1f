"""A trial that is interrupted and resumed, beside one that is not: the largest differences of losses and weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.trials import Trained, beyond_repetition, largest_gap, train, trial_config
from tests.helpers.trials import ScriptedControl


def cases(bench: Bench) -> Iterator[Case]:
    for method in bench.pick(("lora", "full"), ("lora",)):
        yield Case(method, partial(_resumes, bench, method))
    # Optimizers of our own, whose counts of steps have to be loaded to the GPU.
    for optimizer in bench.pick(("galore", "muon"), ("muon",)):
        yield Case(f"full-{optimizer}", partial(_resumes, bench, "full", optimizer))


def _resumes(bench: Bench, method: str, optimizer: str = "adamw") -> Finding:
    steps = bench.pick(12, 4)
    config = trial_config(bench, method, steps=steps, optimizer=optimizer)
    whole, again = train(bench, config, keep=True), train(bench, config, keep=True)
    begun = train(bench, config, ScriptedControl(interrupt_at=steps // 2), keep=True, ends=("interrupted",))
    resumed = train(bench, config, run=begun.run, keep=True)
    values = {
        "repeated_loss_gap": largest_gap(whole.losses, again.losses),
        "repeated_weight_gap": weight_gap(whole, again),
        "resumed_loss_gap": largest_gap(whole.losses, resumed.losses),
        "resumed_weight_gap": weight_gap(whole, resumed),
    }
    for trained in (whole, again, resumed):
        trained.remove()
    return Finding(values, _problem(values))


def _problem(values: dict[str, float]) -> str | None:
    for what in ("loss", "weight"):
        gap, repeated = values[f"resumed_{what}_gap"], values[f"repeated_{what}_gap"]
        if beyond_repetition(gap, repeated):
            return f"after resuming, {what} differs by {gap:.3g}; two undisturbed trials differ by {repeated:.3g}"
    return None


def weight_gap(one: Trained, other: Trained) -> float:
    """The largest absolute difference of two trials' saved weights."""
    from safetensors.torch import load_file

    largest = 0.0
    for path in sorted((one.folder / "model").glob("*.safetensors")):
        mine, theirs = load_file(path), load_file(_same(other, path))
        gaps = (float((mine[name].float() - theirs[name].float()).abs().max()) for name in mine)
        largest = max(largest, *gaps)
    return largest


def _same(other: Trained, path: Path) -> Path:
    return other.folder / "model" / path.name
