"""LOMO and AdaLOMO (Lv et al., 2023): each weight is updated as soon as its gradient is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from trainables.config.optimizers.adafactor import factored_numbers
from trainables.config.optimizers.base import FP32, OptimizerSettings, TrainedTensor, TrainSettings


class _UpdatesInBackward(OptimizerSettings):
    groups_matrices: ClassVar[bool] = True
    updates_in_backward: ClassVar[bool] = True
    adam_rate_factor: ClassVar[float | None] = None

    def problems(self, train: TrainSettings) -> Iterator[tuple[str, str]]:
        kind: str = self.kind  # type: ignore[attr-defined]  # every subclass declares it
        early = f"{kind} updates each weight in the backward pass"
        if train.gradient_accumulation > 1:
            yield "gradient_accumulation", f"{early}, so gradients can't be accumulated; leave it out"
        if train.max_grad_norm is not None:
            what = f"{early}, before the norm of all gradients is known; write max_grad_norm: null"
            yield "max_grad_norm", what
        if train.precision == "fp16":
            yield "precision", f"{early}, before fp16's scaled gradients are checked; use bf16"
        if train.retry_out_of_memory:
            yield "retry_out_of_memory", f"{early}, so smaller batches can't be accumulated; leave it out"


class Lomo(_UpdatesInBackward):
    """Stochastic gradient descent without a state, and without gradients beside those of one weight."""

    kind: Literal["lomo"] = "lomo"

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        return 0


class AdaLomo(_UpdatesInBackward):
    """The mean of squared gradients is a number for each row and column, and steps go with the size of the weights."""

    kind: Literal["adalomo"] = "adalomo"

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        return FP32 * factored_numbers(tensor)

    def tensor_update_bytes(
        self, tensor: TrainedTensor, width: int, device: str, train: TrainSettings
    ) -> float:
        # The gradient's squares; of 16 bits, the gradient in 32 and the update in 16, too.
        return FP32 * tensor.size if width == FP32 else (2 * FP32 + width) * tensor.size
