"""Schedule-free AdamW (Defazio et al., 2024): the package ``schedulefree``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from trainables.config.optimizers.adamw import Betas
from trainables.config.optimizers.base import TrainedTensor


class ScheduleFree(Betas):
    """AdamW with an average of the weights in place of a learning rate that falls. The average is scored and saved."""

    kind: Literal["schedule_free"] = "schedule_free"

    has_schedule: ClassVar[bool] = False
    capability: ClassVar[str | None] = "schedulefree"

    def arguments(self) -> dict[str, Any]:
        return {"optim": "schedule_free_adamw", **self.adam_arguments()}

    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        return 2 * width * tensor.size
