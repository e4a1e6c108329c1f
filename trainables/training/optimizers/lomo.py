"""LOMO and AdaLOMO: each weight is updated as soon as its gradient is there, which is then dropped.

K. Lv et al., "Full Parameter Fine-tuning for Large Language Models with Limited Resources", 2023, arXiv:2306.09782,
and "AdaLomo", 2023, arXiv:2310.10195, algorithm 1. The package of their authors needs a GPU, and keeps its state where
checkpoints don't have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import TrainerCallback

EPSILON, SMALLEST_SCALE, DECAY_RATE = 1e-30, 1e-3, 0.8


class Lomo(Optimizer):
    """Updates weights in the backward pass; :meth:`step` only ends a step.

    ``adaptive``: AdaLOMO, with the mean of squares of each row and column. Else LOMO, which is SGD.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, adaptive: bool) -> None:
        self._hooks: list[Any] = []
        super().__init__(params, {"lr": lr, "weight_decay": 0.0, "matrix": False, "adaptive": adaptive})

    def begin(self) -> None:
        """From now on each backward pass updates the weights."""
        for number, group in enumerate(self.param_groups):
            update = partial(self._update, number)
            self._hooks += [p.register_post_accumulate_grad_hook(update) for p in group["params"]]

    def end(self) -> None:
        """A backward pass leaves the weights as they are again. Without it the hooks outlive this optimizer."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Nothing is left to do: the backward pass was the step."""

    @torch.no_grad()
    def _update(self, number: int, parameter: Tensor) -> None:
        group = self.param_groups[number]  # of the moment: a checkpoint that is loaded brings others
        gradient, parameter.grad = parameter.grad, None
        assert gradient is not None
        if group["adaptive"]:
            gradient = _scaled(gradient.float(), parameter, self.state[parameter], group["weight_decay"])
        elif group["weight_decay"]:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(gradient.to(parameter.dtype), alpha=-group["lr"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As it is, but the means stay in 32 bits: torch casts a state to the type of its weights."""
        super().load_state_dict(state_dict)
        parameters = [p for group in self.param_groups for p in group["params"]]
        for number, saved in state_dict["state"].items():
            parameter = parameters[number]
            for name, value in saved.items():
                if isinstance(value, Tensor):
                    self.state[parameter][name] = value.to(parameter.device, copy=True)


def _scaled(gradient: Tensor, parameter: Tensor, state: dict[str, Any], weight_decay: float) -> Tensor:
    """The normalized gradient with the decay of the weights, times their root mean square; in the gradient's place.

    The root mean square stays on its device: a GPU isn't waited for.
    """
    update = _normalized(gradient, state)
    if weight_decay:
        # Not by multiplying the weights: in 16 bits a factor that is a tensor would be rounded to 1.
        update.add_(parameter, alpha=weight_decay)
    size = parameter.float().norm() / parameter.numel() ** 0.5
    return update.mul_(size.clamp_(min=SMALLEST_SCALE))


def _normalized(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    """The gradient over the root of the mean of its squares, its own root mean square being 1 at most; in its place,
    as a copy of the largest matrix would be most of what the update takes.
    """
    state["step"] = step = state.get("step", 0) + 1
    new = step**-DECAY_RATE  # the weight of this step's squares: 1 in the first one
    squares = (gradient**2).add_(EPSILON)
    if gradient.ndim < 2:
        mean = state.setdefault("squares", torch.zeros_like(squares))
        update = gradient.mul_(mean.lerp_(squares, new).rsqrt())
    else:
        rows = state.setdefault("rows", torch.zeros_like(squares.mean(-1))).lerp_(squares.mean(-1), new)
        columns = state.setdefault("columns", torch.zeros_like(squares.mean(-2))).lerp_(squares.mean(-2), new)
        row_factors = (rows / rows.mean(-1, keepdim=True)).rsqrt().unsqueeze(-1)
        update = gradient.mul_(row_factors).mul_(columns.rsqrt().unsqueeze(-2))
    return update.div_((update.norm() / update.numel() ** 0.5).clamp(min=1.0))


class LomoCallback(TrainerCallback):
    """Has the backward passes of a training update the weights, and no other ones."""

    def __init__(self, optimizer: Lomo) -> None:
        self.optimizer = optimizer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.optimizer.begin()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.optimizer.end()
