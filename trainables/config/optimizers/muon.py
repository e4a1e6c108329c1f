"""Muon (Jordan et al., 2024): torch's, with AdamW for what is no matrix, for embeddings and for heads."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from trainables.config.optimizers.adamw import Betas
from trainables.config.optimizers.base import TrainedTensor, TrainSettings


class Muon(Betas):
    """The momentum of a matrix is made orthogonal by ``iterations`` Newton-Schulz iterations; ``beta1``, ``beta2`` and
    ``epsilon`` are AdamW's.

    Updates are as large as AdamW's (Liu et al., 2025, arXiv:2502.16982), so that its learning rates hold.
    """

    kind: Literal["muon"] = "muon"
    momentum: float = Field(default=0.95, ge=0, lt=1)
    nesterov: bool = True
    iterations: int = Field(default=5, ge=1, lt=100)

    groups_matrices: ClassVar[bool] = True

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        return (1 if tensor.hidden_matrix else 2) * width * tensor.size

    def tensor_update_bytes(
        self, tensor: TrainedTensor, width: int, device: str, train: TrainSettings
    ) -> float:
        if not tensor.hidden_matrix:
            return 0
        # The momentum's copy, in 16 bits two matrices and two squares of the shorter side; on CPUs products in 32, too.
        square = min(tensor.shape) ** 2
        return tensor.size * (width + 4) + 4 * square + (12 * tensor.size if device == "cpu" else 0)
