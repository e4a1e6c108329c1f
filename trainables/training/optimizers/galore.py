"""GaLore: AdamW whose running means are those of a gradient that is projected to a few dimensions.

J. Zhao et al., "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection", 2024, arXiv:2403.03507,
algorithm 2. The package of its authors keeps the projection where checkpoints don't have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

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


class GaLore(Optimizer):
    """Groups whose ``matrix`` is true are of matrices; those with more than ``rank`` rows and columns are projected.

    All others are trained by AdamW. ``update_every``: steps between two projections. ``scale``: of projected updates.
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
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "matrix": False}
        super().__init__(params, {**defaults, "rank": rank, "update_every": update_every, "scale": scale})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and is_projected(parameter, group):
                    self._update(parameter, group)
        adamw_step(self, map(without_projected, self.param_groups))

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        state["step"] = state.get("step", 0) + 1
        if (state["step"] - 1) % group["update_every"] == 0:
            state["projection"] = projection(gradient, group["rank"])
        rate = adam_rate(state, group)
        decay(parameter, group)
        basis = state["projection"]
        # The shorter side is projected: less is kept so.
        tall = gradient.shape[0] >= gradient.shape[1]
        direction = adam_direction(state, gradient @ basis if tall else basis.T @ gradient, group)
        update = direction @ basis.T if tall else basis @ direction
        parameter.add_(update, alpha=-rate * group["scale"])


def projection(gradient: Tensor, rank: int) -> Tensor:
    """The leading singular vectors of ``gradient`` (rows, columns) on its shorter side: (shorter, rank)."""
    left, _, right = torch.linalg.svd(gradient.float(), full_matrices=False)
    vectors = right[:rank].T if gradient.shape[0] >= gradient.shape[1] else left[:, :rank]
    return vectors.to(gradient.dtype, memory_format=torch.contiguous_format, copy=True)
