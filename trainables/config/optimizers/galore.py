"""GaLore (Zhao et al., 2024): AdamW on gradients that are projected to ``rank`` dimensions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainables.config import limits
from trainables.config.optimizers.adamw import Betas
from trainables.config.optimizers.base import FP32, TrainedTensor, TrainSettings


class GaLore(Betas):
    """Matrices between embedding and head whose sides are both above ``rank`` are projected; AdamW trains the others.

    ``update_every``: steps between two projections, for each of which the gradient's singular vectors are computed.
    ``scale``: of projected updates.
    """

    kind: Literal["galore"] = "galore"
    rank: Annotated[int, limits.at_most(limits.RANK)] = Field(default=128, ge=1)
    update_every: int = Field(default=200, ge=1)
    scale: float = Field(default=0.25, gt=0)

    groups_matrices: ClassVar[bool] = True

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        if not tensor.hidden_matrix or self.rank >= min(tensor.shape):
            return 2 * width * tensor.size
        # Two means of the projected gradient, and the projection.
        return width * self.rank * (2 * max(tensor.shape) + min(tensor.shape))

    def tensor_update_bytes(
        self, tensor: TrainedTensor, width: int, device: str, train: TrainSettings
    ) -> float:
        if not tensor.hidden_matrix or self.rank >= min(tensor.shape):
            return 0
        # While a new projection is computed: the gradient's copy, its singular vectors and the algorithm's own space.
        return FP32 * tensor.size * (4 if width == FP32 else 4.3)
