"""Adafactor (Shazeer and Stern, 2018): transformers'."""

from __future__ import annotations

from typing import Any, Literal

from trainables.config.optimizers.base import FP32, OptimizerSettings, TrainedTensor, TrainSettings


class Adafactor(OptimizerSettings):
    """The mean of squared gradients is kept as one number for each row and each column of a matrix."""

    kind: Literal["adafactor"] = "adafactor"

    def arguments(self) -> dict[str, Any]:
        return {"optim": "adafactor"}

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        return FP32 * (factored_numbers(tensor) + 1)  # one for the size of the weights

    def tensor_update_bytes(
        self, tensor: TrainedTensor, width: int, device: str, train: TrainSettings
    ) -> float:
        # The update and another result of its size; of 16 bits, the gradient and the weights in 32, too.
        return FP32 * tensor.size * (2 if width == FP32 else 4)


def factored_numbers(tensor: TrainedTensor) -> int:
    """Numbers in the rows' and columns' means of a tensor's squares; of a vector, all of them."""
    if len(tensor.shape) < 2:
        return tensor.size
    *_, rows, columns = tensor.shape
    return (rows + columns) * (tensor.size // (rows * columns))
