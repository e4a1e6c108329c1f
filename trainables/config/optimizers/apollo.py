"""APOLLO and APOLLO-Mini (Zhu et al., 2024): gradients scaled as Adam would scale a random projection of them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainables.config import limits
from trainables.config.optimizers.adamw import Betas
from trainables.config.optimizers.base import FP32, TrainedTensor, TrainSettings


class _RandomProjection(Betas):
    """Matrices between embedding and head whose sides are both above ``rank`` are projected; AdamW trains the others.

    ``update_every``: steps between two projections. ``scale``: its square root multiplies the updates of matrices.
    """

    rank: Annotated[int, limits.at_most(limits.RANK)] = Field(default=256, ge=1)
    update_every: int = Field(default=200, ge=1)
    scale: float = Field(default=1.0, gt=0)

    groups_matrices: ClassVar[bool] = True

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        if not tensor.hidden_matrix or self.rank >= min(tensor.shape):
            return 2 * width * tensor.size
        # Two means of the projected gradient, and the norm of the last update. The projection is drawn anew.
        return width * (2 * self.rank * max(tensor.shape) + 1)

    def tensor_update_bytes(
        self, tensor: TrainedTensor, width: int, device: str, train: TrainSettings
    ) -> float:
        if not tensor.hidden_matrix or self.rank >= min(tensor.shape):
            return 0
        # The update, the projection, the projected gradient and what Adam makes of it.
        return FP32 * (tensor.size + self.rank * (2 * max(tensor.shape) + min(tensor.shape)))


class Apollo(_RandomProjection):
    """One factor for each channel."""

    kind: Literal["apollo"] = "apollo"


class ApolloMini(_RandomProjection):
    """One factor for a whole matrix, so that one dimension is enough."""

    kind: Literal["apollo_mini"] = "apollo_mini"
    rank: Annotated[int, limits.at_most(limits.RANK)] = Field(default=1, ge=1)
    scale: float = Field(default=128.0, gt=0)
