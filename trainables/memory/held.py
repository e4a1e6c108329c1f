"""What a training step holds all the time: weights, quantization constants, gradients and optimizer state, in bytes."""

from __future__ import annotations

from trainables.memory.step import TrainingStep

OPTIMIZER_BYTES = {
    "adamw": 8.0, "paged_adamw": 8.0, "adamw_8bit": 2.03, "paged_adamw_8bit": 2.03, "sgd": 0.0, "adafactor": 0.01,
}  # per trained weight: AdamW's two moments in 32 bits, or in 8 bits with a scale of 4 bytes each 256  # fmt: skip


def weight_bytes(step: TrainingStep) -> int:
    """All weights in the types they are held in, adapters included."""
    shape, footprint, widths = step.shape, step.footprint, step.widths
    linear = shape.layers * shape.linear_params
    trained_linear = footprint.trained_layers * shape.linear_params
    trained = step.trained_model_params
    # Embedding, head, norms and biases: quantizers leave these alone.
    frozen_others = shape.params - linear - (trained - trained_linear)
    frozen_linear = (linear - trained_linear) * (footprint.linear_bytes or widths.frozen)
    return int(
        frozen_others * widths.frozen
        + frozen_linear
        + (trained + footprint.adapter_params(shape)) * widths.trainable
    )


def quantization_bytes(step: TrainingStep) -> int:
    """The constants that go with quantized weights: scales, zeros, code books."""
    frozen = (step.shape.layers - step.footprint.trained_layers) * step.shape.linear_params
    return int(frozen * step.footprint.constant_bytes)


def gradient_bytes(step: TrainingStep) -> int:
    """All gradients, once the backward pass is over; they have the type of their weights."""
    return step.footprint.trained_params(step.shape) * step.widths.trainable


def optimizer_bytes(step: TrainingStep) -> int:
    """The optimizer's state."""
    per_weight = optimizer_bytes_per_weight(step.train.optimizer, step.widths.trainable)
    return int(step.footprint.trained_params(step.shape) * per_weight)


def optimizer_bytes_per_weight(optimizer: str, width: int) -> float:
    """Bytes of state for one weight of ``width`` bytes; torch's own AdamW keeps its moments in the weights' type."""
    state = OPTIMIZER_BYTES[optimizer]
    return state * width / 4 if optimizer == "adamw" else state


def still_mapped_bytes(step: TrainingStep) -> int:
    """On a CPU, weights that were copied to train in 32 bits stay resident in the mapped model file, too."""
    everything_trains = step.footprint.trained_layers == step.shape.layers and step.footprint.embedding
    # A model that trains as a whole is loaded in 32 bits, and FSDP lets go of what it was loaded from: no copies then.
    unmapped = everything_trains or step.sharded
    if step.device != "cpu" or unmapped or step.widths.trainable == step.widths.frozen:
        return 0
    return step.trained_model_params * step.widths.frozen
