"""The running means of Adam, of a gradient or of its projection."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


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
