"""StableAdamW (Wortsman et al., 2023): the package ``torch-optimi``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from trainables.config.optimizers.adamw import Betas
from trainables.config.optimizers.base import FP32, TrainedTensor, TrainSettings


class StableAdamW(Betas):
    """AdamW whose updates are clipped by the size of the gradient compared with its running mean."""

    kind: Literal["stable_adamw"] = "stable_adamw"
    beta2: float = Field(default=0.99, ge=0, lt=1)
    epsilon: float = Field(default=1e-6, gt=0)

    counts_steps_together: ClassVar[bool] = True
    capability: ClassVar[str | None] = "torch-optimi"

    def arguments(self) -> dict[str, Any]:
        return {"optim": "stable_adamw", **self.adam_arguments()}

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        # In 16 bits it also keeps what rounding has lost.
        return (2 if width == 4 else 3) * width * tensor.size

    def tensor_update_bytes(
        self, tensor: TrainedTensor, width: int, device: str, train: TrainSettings
    ) -> float:
        # On a GPU a kernel needs nothing. In 16 bits what rounding has lost is computed, too.
        return 0 if device != "cpu" else width * tensor.size * (2 if width == FP32 else 3)
