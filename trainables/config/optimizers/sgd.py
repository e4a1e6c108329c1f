"""Stochastic gradient descent: torch's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field

from trainables.config.optimizers.base import (
    OptimizerSettings,
    TrainedTensor,
    TrainSettings,
    optim_args,
)


class SGD(OptimizerSettings):
    """``momentum``: the decay rate of the running mean of gradients; with 0 there is no state."""

    kind: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.0, ge=0, lt=1)

    adam_rate_factor: ClassVar[float | None] = None  # gradients aren't normalized

    def memory_form(self) -> SGD:
        return SGD(momentum=0.9 if self.momentum else 0.0)

    @property
    def shardable(self) -> bool:
        return True

    def arguments(self) -> dict[str, Any]:
        options = optim_args(momentum=self.momentum) if self.momentum else None
        return {"optim": "sgd", "optim_args": options}

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        return width * tensor.size if self.momentum else 0

    def update_bytes(
        self, tensors: Iterable[TrainedTensor], width: int, device: str, train: TrainSettings
    ) -> int:
        if not train.weight_decay:
            return 0
        # The gradient with the decay added: on a CPU of one tensor at a time, on a GPU of all.
        sizes = [(tensor.count, tensor.size) for tensor in tensors]
        if device == "cpu":
            return width * max((size for _, size in sizes), default=0)
        return width * sum(count * size for count, size in sizes)
