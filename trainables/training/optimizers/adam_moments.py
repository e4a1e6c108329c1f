"""Adam's running means, of a gradient's projection; torch's AdamW for the parameters that are not projected."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def adam_direction(state: dict[str, Any], gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """Adam's normalized gradient, of the same shape, without bias corrections; updates the means in ``state``.

    Kingma and Ba, "Adam", 2015, section 2: the corrections are part of the step's size, :func:`adam_rate`.
    """
    if "exp_avg" not in state:
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    beta1, beta2 = group["betas"]
    state["exp_avg"].lerp_(gradient, 1 - beta1)
    state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    return state["exp_avg"] / state["exp_avg_sq"].sqrt().add_(group["eps"])


def adam_rate(state: dict[str, Any], group: dict[str, Any]) -> float:
    """The learning rate with both bias corrections, at the step that ``state["step"]`` counts already."""
    beta1, beta2 = group["betas"]
    rate: float = group["lr"] * math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
    return rate


def decay(parameter: Tensor, group: dict[str, Any]) -> None:
    """Decoupled weight decay (Loshchilov and Hutter, 2019)."""
    if group["weight_decay"]:
        parameter.mul_(1 - group["lr"] * group["weight_decay"])


def step_with(
    cls: type[Optimizer], optimizer: Optimizer, groups: Iterable[dict[str, Any]], **options: Any
) -> None:
    """One step of torch's ``cls`` on ``groups`` of an ``optimizer`` of ours, whose state it shares.

    It is made anew each time, as groups and state are others once a checkpoint is loaded.
    """
    # Copies: torch's class adds its own settings to a group.
    filled = [dict(group) for group in groups if group["params"]]
    if filled:
        make: Callable[..., Optimizer] = cls
        inner = make(filled, lr=filled[0]["lr"], **options)
        inner.state = optimizer.state
        inner.step()


def adamw_step(optimizer: Optimizer, groups: Iterable[dict[str, Any]], **options: Any) -> None:
    """One step of torch's AdamW, fused: without it the largest tensor would be there three times more.

    ``fused`` has to be true in the optimizer's own groups, too: by that torch loads the counts of steps to a GPU.
    """
    step_with(torch.optim.AdamW, optimizer, groups, fused=True, **options)
