"""Lion (Chen et al., 2023): bitsandbytes'."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from trainables.config.optimizers.base import OptimizerSettings, TrainedTensor, TrainSettings
from trainables.config.optimizers.bitsandbytes_state import (
    bitsandbytes_bytes,
    bitsandbytes_name,
    bitsandbytes_update_bytes,
)


class Lion(OptimizerSettings):
    """One running mean, of whose mixture with the gradient only the sign counts. Its authors take a third to a tenth of
    AdamW's learning rate.

    ``bits`` of each number in the state. ``paged``: a GPU's driver moves the state to the machine's memory.
    """

    kind: Literal["lion"] = "lion"
    bits: Literal[32, 8] = 32
    paged: bool = False
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.99, ge=0, lt=1)

    adam_rate_factor: ClassVar[float | None] = 0.2  # of what its authors take, the middle

    def arguments(self) -> dict[str, Any]:
        name = bitsandbytes_name("lion", self.bits, self.paged)
        return {"optim": name, "adam_beta1": self.beta1, "adam_beta2": self.beta2}

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        return bitsandbytes_bytes(tensor, self.bits, moments=1)

    def tensor_update_bytes(
        self, tensor: TrainedTensor, width: int, device: str, train: TrainSettings
    ) -> float:
        return bitsandbytes_update_bytes(tensor, self.bits, 1, width, device)
