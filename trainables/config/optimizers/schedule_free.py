"""Schedule-free AdamW (Defazio et al., 2024): the package ``schedulefree``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field

from trainables.config.optimizers.adamw import Betas
from trainables.config.optimizers.base import TrainedTensor, TrainSettings


class ScheduleFree(Betas):
    """AdamW with an average of the weights in place of a learning rate that falls. The average is scored and saved."""

    kind: Literal["schedule_free"] = "schedule_free"
    beta1: float = Field(default=0.9, gt=0, lt=1)  # with 0 the average can't be computed from what is trained

    has_schedule: ClassVar[bool] = False
    counts_steps_together: ClassVar[bool] = True
    capability: ClassVar[str | None] = "schedulefree"

    def arguments(self) -> dict[str, Any]:
        return {"optim": "schedule_free_adamw", **self.adam_arguments()}

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        return 2 * width * tensor.size

    def update_bytes(
        self, tensors: Iterable[TrainedTensor], width: int, device: str, train: TrainSettings
    ) -> int:
        # The divisors of all tensors of a group at once; vectors are another group, without decay.
        return width * sum(tensor.count * tensor.size for tensor in tensors if len(tensor.shape) > 1)
