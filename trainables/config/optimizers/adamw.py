"""AdamW (Loshchilov and Hutter, 2019): torch's, bitsandbytes' with a state of 8 bits or paged, and
ours with one of 4 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from trainables.config.optimizers.base import OptimizerSettings, TrainedTensor, TrainSettings
from trainables.config.optimizers.bitsandbytes_state import bitsandbytes_bytes, bitsandbytes_update_bytes
from trainables.config.optimizers.four_bit_state import four_bit_bytes, four_bit_update_bytes

TRANSFORMERS_NAMES = {
    (32, False): "adamw_torch_fused",
    (8, False): "adamw_bnb_8bit",
    (32, True): "paged_adamw_32bit",
    (8, True): "paged_adamw_8bit",
    (4, False): "adamw_torch",  # which is not made: ours is, see trainables.training.optimizers
}


class Betas(OptimizerSettings):
    """The decay rates of Adam's two running means, and the smallest divisor."""

    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)

    def adam_arguments(self) -> dict[str, Any]:
        return {"adam_beta1": self.beta1, "adam_beta2": self.beta2, "adam_epsilon": self.epsilon}


class AdamW(Betas):
    """``bits`` of each number in the state. ``paged``: a GPU's driver moves the state to the machine's memory."""

    kind: Literal["adamw"] = "adamw"
    bits: Literal[32, 8, 4] = 32
    paged: bool = False

    @property
    def shardable(self) -> bool:
        return (self.bits, self.paged) == (32, False)

    def arguments(self) -> dict[str, Any]:
        return {"optim": TRANSFORMERS_NAMES[self.bits, self.paged], **self.adam_arguments()}

    def problems(self, train: TrainSettings) -> Iterator[tuple[str, str]]:
        if self.paged and self.bits == 4:
            yield "optimizer", "a state of 4 bits can't be paged; leave paged out, or take bits: 8"

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        if self.shardable:
            return 2 * width * tensor.size  # torch keeps both in the weights' type
        if self.bits == 4:
            return four_bit_bytes(tensor.size, width)
        return bitsandbytes_bytes(tensor, self.bits, moments=2)

    def tensor_update_bytes(
        self, tensor: TrainedTensor, width: int, device: str, train: TrainSettings
    ) -> float:
        if self.shardable:
            return 0  # torch's is fused
        if self.bits == 4:
            return four_bit_update_bytes(tensor.size, width, device)
        return bitsandbytes_update_bytes(tensor, self.bits, 2, width, device)
