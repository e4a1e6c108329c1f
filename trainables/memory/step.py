"""What the memory of a training step depends on, and the prediction for one moment of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from trainables.memory.byte_widths import ByteWidths, byte_widths
from trainables.models.architecture.decoder_shape import DecoderShape

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.methods.footprint import Footprint
    from trainables.stages.forward_pass import Batch


@dataclass(frozen=True)
class MemoryPrediction:
    """Bytes in use at one moment of a training step, by purpose."""

    weights: int  # in the types they are held in, adapters included
    gradients: int
    optimizer: int  # its state
    activations: int
    logits: int
    quantization: int = 0  # constants of quantized weights: scales, zeros, code books
    reference: int = 0  # kept weights of the policy before training, and what its forward pass needs
    value: int = 0  # a value head, with its gradients and optimizer state
    reward: int = 0  # a reward model, or a reward adapter on the policy's base
    gathered: int = 0  # weights sharded over workers while they are whole, and buffers to send gradients from
    update: int = 0  # what the optimizer's step computes with
    other: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class TrainingStep:
    """The inputs of a formula's prediction for one worker.

    ``batch`` is one worker's share of a forward pass. ``attention`` is transformers' name of the implementation,
    ``dtype`` the type that the model is loaded in, ``device`` "cpu" or "cuda". ``multiplies_in_32_bits``: whether the
    processor that trains has its 16-bit products computed in 32 bits (``models.cpu_products``), which takes more
    memory at the head; ``None`` where it isn't known.
    """

    train: TrainConfig
    shape: DecoderShape
    footprint: Footprint
    batch: Batch
    device: str
    attention: str
    dtype: str
    workers: int = 1
    multiplies_in_32_bits: bool | None = None

    @property
    def widths(self) -> ByteWidths:
        return byte_widths(self.train.precision, self.dtype)

    @property
    def sharded(self) -> bool:
        return self.train.sharding == "fsdp" and self.workers > 1

    @property
    def residual_width(self) -> int:
        """Bytes of one number in the residual stream: it has the embedding's type."""
        return self.widths.trainable if self.footprint.embedding else self.widths.frozen

    @property
    def trained_model_params(self) -> int:
        """How many of the model's own weights train: all that train but the adapters."""
        return self.footprint.trained_params(self.shape) - self.footprint.adapter_params(self.shape)

    @property
    def reached_layers(self) -> int:
        """How many decoder layers gradients go through, from the last one down."""
        return self.footprint.layers_with_gradients(self.shape)
