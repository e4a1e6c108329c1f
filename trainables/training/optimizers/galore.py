"""GaLore: AdamW whose running means are those of a gradient that is projected to a few dimensions.

J. Zhao et al., "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection", 2024, arXiv:2403.03507,
algorithm 2. The package of its authors keeps the projection where checkpoints don't have it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainables.training.optimizers.projected_adam import Projected, ProjectedAdam, is_tall


class GaLore(ProjectedAdam):
    """A gradient is projected on its leading singular vectors; a gradient of zeros has none.

    A matrix whose gradients have been zero so far doesn't move, as a LoRA's A before its B has moved; it takes its
    first step with the first other gradient.
    """

    def basis(
        self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any], number: int
    ) -> Tensor | None:
        if state.get("step", 0) % group["update_every"] == 0 and bool(gradient.any()):
            state["projection"] = projection(gradient, group["rank"])
        return state.get("projection")

    def update(self, seen: Projected, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        return seen.direction @ seen.basis.T if is_tall(seen.gradient) else seen.basis @ seen.direction


def projection(gradient: Tensor, rank: int) -> Tensor:
    """The leading singular vectors of ``gradient`` (rows, columns) on its shorter side: (shorter, rank)."""
    left, _, right = torch.linalg.svd(gradient.float(), full_matrices=False)
    vectors = right[:rank].T if is_tall(gradient) else left[:, :rank]
    return vectors.to(gradient.dtype, memory_format=torch.contiguous_format, copy=True)
