"""APOLLO: each channel of a gradient is scaled as Adam would scale it in a random projection to a few dimensions.

H. Zhu et al., "APOLLO: SGD-like Memory, AdamW-level Performance", 2024, arXiv:2412.05270, algorithm 1, with the limit
on the growth of an update's norm from X. Chen et al., "Fira", 2024, arXiv:2410.01623. The projection is drawn again
from its seed at each step, so that none is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from trainables.training.optimizers.adam_moments import (
    adam_direction,
    adam_rate,
    adamw_step,
    decay,
    is_projected,
    without_projected,
)

GROWTH = 1.01  # of an update's norm from one step to the next, at most
TINY = 1e-8


class Apollo(Optimizer):
    """Groups whose ``matrix`` is true are of matrices; those with more than ``rank`` rows and columns are projected.

    All others are trained by AdamW. ``by_tensor``: one factor scales a whole matrix (APOLLO-Mini), and not one for each
    channel. ``scale``: its square root multiplies the updates of matrices, as in the authors' code.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        rank: int,
        update_every: int,
        scale: float,
        by_tensor: bool,
        seed: int,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "matrix": False, "rank": rank}
        defaults |= {"update_every": update_every, "scale": scale, "by_tensor": by_tensor, "seed": seed}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                number += 1  # its place, which is the same after a resume
                if parameter.grad is not None and is_projected(parameter, group):
                    self._update(parameter, group, number)
        adamw_step(self, map(without_projected, self.param_groups))

    def _update(self, parameter: Tensor, group: dict[str, Any], number: int) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        state["step"] = state.get("step", 0) + 1
        rate = adam_rate(state, group)
        decay(parameter, group)
        period = (state["step"] - 1) // group["update_every"]
        basis = random_projection(gradient, group["rank"], (group["seed"], number, period))
        tall = gradient.shape[0] >= gradient.shape[1]
        projected = gradient @ basis if tall else basis.T @ gradient
        direction = adam_direction(state, projected, group)
        update = gradient * _factors(direction, projected, group["by_tensor"], channels=1 if tall else 0)
        _limit_growth(update, state)
        parameter.add_(update, alpha=-rate * math.sqrt(group["scale"]))


def _factors(direction: Tensor, projected: Tensor, by_tensor: bool, channels: int) -> Tensor:
    """How much Adam scales the projected gradient, as a whole or for each channel: (), (rows, 1) or (1, columns)."""
    if by_tensor:
        return direction.norm() / (projected.norm() + TINY)
    norms = (each.norm(dim=channels, keepdim=True) for each in (direction, projected))
    return next(norms) / (next(norms) + TINY)


def _limit_growth(update: Tensor, state: dict[str, Any]) -> None:
    norm = update.norm()
    if "norm" in state:
        excess = (norm / (state["norm"] + TINY)).clamp_(min=GROWTH) / GROWTH
        update.div_(excess)
        norm = norm / excess
    state["norm"] = norm


def random_projection(gradient: Tensor, rank: int, seed: tuple[int, ...]) -> Tensor:
    """Normal numbers of variance 1 / rank, (shorter side of ``gradient``, rank), the same for the same ``seed``."""
    mixed = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) >> 1
    generator = torch.Generator().manual_seed(mixed)
    shape = (min(gradient.shape), rank)
    drawn = torch.randn(shape, generator=generator) / math.sqrt(rank)
    return drawn.to(gradient.device, gradient.dtype)
