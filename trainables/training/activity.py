"""What a trial is doing, for a sweep that ends: what it has to wait for, and how much of a checkpoint is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Phase = Literal["training", "saving", "finishing"]  # finishing: it saves its model, is scored and measured


@dataclass(frozen=True)
class Activity:
    """A trial's progress: ``step`` is the last that it has trained, ``saved_step`` that of its newest complete
    checkpoint (0 without one). What lies between them would be trained again if the trial was ended now.

    ``unsaved_seconds``: the training that these steps took. ``step_seconds``: the longest step so far.
    ``checkpoint_bytes``: the size of its next checkpoint, of which ``written_bytes`` are written in the phase
    ``saving``. ``bytes_per_second``: how fast its last checkpoint was written.
    """

    phase: Phase
    step: int
    saved_step: int
    unsaved_seconds: float = 0.0
    step_seconds: float = 0.0
    checkpoint_bytes: int = 0
    written_bytes: int = 0
    bytes_per_second: float | None = None

    @property
    def unsaved(self) -> bool:
        """Whether ending the trial now would lose steps."""
        return self.step > self.saved_step

    @property
    def bytes_to_write(self) -> int:
        """The bytes until its steps are saved; none once training is over, where its end is waited for."""
        return 0 if self.phase == "finishing" else max(0, self.checkpoint_bytes - self.written_bytes)


def checkpoint_bytes(model: Any, optimizer: Any) -> int:
    """The size of a checkpoint of a model in training: the weights that it contains, and the optimizer's state.

    It contains an adapter's weights, or all of a model without one.
    """
    adapter = hasattr(model, "peft_config")
    weights = _bytes(p for p in model.parameters() if p.requires_grad or not adapter)
    state = (value for entry in optimizer.state.values() for value in entry.values())
    # Beside tensors there are numbers of steps.
    return weights + _bytes(value for value in state if hasattr(value, "element_size"))


def _bytes(tensors: Iterable[Any]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
