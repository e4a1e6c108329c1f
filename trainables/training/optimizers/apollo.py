"""APOLLO: each channel of a gradient is scaled as Adam would scale it in a random projection to a few dimensions.

H. Zhu et al., "APOLLO: SGD-like Memory, AdamW-level Performance", 2024, arXiv:2412.05270, algorithm 1, with the limit
on the growth of an update's norm from X. Chen et al., "Fira", 2024, arXiv:2410.01623. The projection is drawn again
from its seed at each step, so that none is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from trainables.training.optimizers.projected_adam import Projected, ProjectedAdam, is_tall

GROWTH = 1.01  # of an update's norm from one step to the next, at most
TINY = 1e-8


class Apollo(ProjectedAdam):
    """``by_tensor``: one factor scales a whole matrix (APOLLO-Mini), and not one for each channel. The square root of
    ``scale`` multiplies the updates of matrices, as in the authors' code.
    """

    scale_power: ClassVar[float] = 0.5

    def __init__(
        self, params: Iterable[dict[str, Any]], *args: Any, by_tensor: bool, seed: int, **options: Any
    ) -> None:
        super().__init__(params, *args, **options, by_tensor=by_tensor, seed=seed)

    def basis(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any], number: int) -> Tensor:
        period = state.get("step", 0) // group["update_every"]
        return random_projection(gradient, group["rank"], (group["seed"], number, period))

    def update(self, seen: Projected, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        channels = 1 if is_tall(seen.gradient) else 0
        update = seen.gradient * _factors(seen.direction, seen.projected, group["by_tensor"], channels)
        _limit_growth(update, state)
        return update


def _factors(direction: Tensor, projected: Tensor, by_tensor: bool, channels: int) -> Tensor:
    """How much Adam scales the projected gradient, as a whole or for each channel: (), (rows, 1) or (1, columns)."""
    if by_tensor:
        return direction.norm() / (projected.norm() + TINY)
    norms = (each.norm(dim=channels, keepdim=True) for each in (direction, projected))
    return next(norms) / (next(norms) + TINY)


def _limit_growth(update: Tensor, state: dict[str, Any]) -> None:
    """Limits an update's norm by that of the last one that wasn't zero; the first of these may have any norm."""
    norm = update.norm()
    # Nothing here waits for the device.
    before = state.get("norm", torch.zeros_like(norm))
    growth = torch.where(before > 0, norm / (before + TINY), GROWTH)
    excess = growth.clamp_(min=GROWTH) / GROWTH
    update.div_(excess)
    state["norm"] = torch.where(norm > 0, norm / excess, before)


def random_projection(gradient: Tensor, rank: int, seed: tuple[int, ...]) -> Tensor:
    """Normal numbers of variance 1 / rank, (shorter side of ``gradient``, rank), the same for the same ``seed`` on a
    device of the same kind.
    """
    mixed = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) >> 1
    # On the gradient's own device: the numbers of a large model take a CPU seconds, at each step.
    generator = torch.Generator(gradient.device).manual_seed(mixed)
    shape = (min(gradient.shape), rank)
    drawn = torch.randn(shape, generator=generator, device=gradient.device) / math.sqrt(rank)
    return drawn.to(gradient.dtype)
