"""AdEMAMix (Pagliardini, Ablin and Grangier, 2024): bitsandbytes'."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from trainables.config.optimizers.adamw import Betas
from trainables.config.optimizers.base import TrainedTensor, TrainSettings, optim_args
from trainables.config.optimizers.bitsandbytes_state import (
    bitsandbytes_bytes,
    bitsandbytes_name,
    bitsandbytes_update_bytes,
)


class AdEMAMix(Betas):
    """AdamW with a second running mean of gradients, of decay rate ``beta3``, which counts ``alpha`` times.

    ``bits`` of each number in the state. ``paged``: a GPU's driver moves the state to the machine's memory.
    """

    kind: Literal["ademamix"] = "ademamix"
    bits: Literal[32, 8] = 32
    paged: bool = False
    beta3: float = Field(default=0.9999, ge=0, lt=1)
    alpha: float = Field(default=5.0, ge=0)

    def arguments(self) -> dict[str, Any]:
        options = optim_args(beta3=self.beta3, alpha=self.alpha)
        plain = (self.bits, self.paged) == (32, False)
        name = "ademamix" if plain else bitsandbytes_name("ademamix", self.bits, self.paged)
        return {"optim": name, "optim_args": options, **self.adam_arguments()}

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        return bitsandbytes_bytes(tensor, self.bits, moments=3)

    def tensor_update_bytes(
        self, tensor: TrainedTensor, width: int, device: str, train: TrainSettings
    ) -> float:
        return bitsandbytes_update_bytes(tensor, self.bits, 3, width, device)
