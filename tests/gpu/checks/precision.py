"""The precisions: finite losses that agree, scaled gradients in fp16, and in which type products in 32 bits run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.trials import Trained, largest_gap, train, trial_config
from trainables.training.training_callback import NoControl

# Relative, between 16 bits and 32. Not of fp16, where steps may be left out at first.
LIMIT = 0.05


class ProductsControl(NoControl):
    """Notes in which precision 32-bit matrix products run, while the trial trains."""

    products: str | None = None

    def interrupted(self) -> bool:
        import torch

        self.products = torch.get_float32_matmul_precision()
        return False


def cases(bench: Bench) -> Iterator[Case]:
    found: dict[str, Trained] = {}
    for precision in ("fp32", "bf16", "pure_bf16", "fp16"):
        # What a precision takes is a capability of its name, except where any machine has it.
        needs = (precision,) if precision in ("bf16", "fp16") else ()
        yield Case(precision, partial(_trains, bench, precision, found), needs)


def _trains(bench: Bench, precision: str, found: dict[str, Trained]) -> Finding:
    control = ProductsControl()
    config = trial_config(bench, "full", steps=bench.pick(10, 4), batch_size=8, precision=precision)
    with scales_of_gradients() as scales:
        found[precision] = trained = train(bench, config, control)
    values = {**trained.values(), "products": control.products}
    problem = trained.fell()
    if "fp32" in found:
        # Weights in bf16 leave out updates that are less than half of their last bit: only the first step compares.
        compared = 1 if precision == "pure_bf16" else len(trained.losses)
        gap = largest_gap(found["fp32"].losses[:compared], trained.losses[:compared])
        values["loss_gap_percent"] = 100 * gap
        if precision != "fp16" and not gap <= LIMIT:
            problem = problem or f"losses differ from fp32's by {100 * gap:.2g} %"
    if precision == "fp16":
        values |= {"first_scale": scales[0], "last_scale": scales[-1]} if scales else {}
        problem = problem or _scaling_problem(scales, len(trained.losses))
    expected = "highest" if precision == "fp32" else "high"
    if bench.device == "cuda" and control.products != expected:
        problem = problem or f"products of 32 bits ran in precision {control.products}, not {expected}"
    return Finding(values, problem)


def _scaling_problem(scales: list[float], steps: int) -> str | None:
    """Why the gradients' scale is not what it should be after ``steps`` steps."""
    if len(scales) != steps:
        return f"the scale of the gradients was updated {len(scales)} times in {steps} steps"
    # The scale is halved where gradients overflowed, and that step is left out: a few times at most.
    return None if scales[-1] > 1 else f"the scale of the gradients fell to {scales[-1]:g}"


@contextmanager
def scales_of_gradients() -> Iterator[list[float]]:
    """The scales of torch's gradient scaler, one after each step of the block."""
    import torch

    scales: list[float] = []
    update = torch.amp.GradScaler.update

    def noted(scaler: Any, *arguments: Any, **options: Any) -> None:
        update(scaler, *arguments, **options)
        scales.append(scaler.get_scale())

    torch.amp.GradScaler.update = noted
    try:
        yield scales
    finally:
        torch.amp.GradScaler.update = update
