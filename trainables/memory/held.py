"""What a training step holds all the time: weights, quantization constants, gradients and optimizer state, in bytes."""

from __future__ import annotations

from trainables.config.optimizers import OptimizerSettings, TrainedTensor
from trainables.memory.step import TrainingStep

LARGE_MATRIX = TrainedTensor((1024, 1024))


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
    """All gradients, once the backward pass is over; they have the type of their weights.

    Where weights are updated in the backward pass, those of the embedding come last.
    """
    if step.train.optimizer_settings.updates_in_backward:
        return step.footprint.embedding * step.shape.embedding_params * step.widths.trainable
    return step.footprint.trained_params(step.shape) * step.widths.trainable


def optimizer_bytes(step: TrainingStep) -> int:
    """The optimizer's state."""
    tensors = step.footprint.trained_tensors(step.shape)
    return step.train.optimizer_settings.state_bytes(tensors, step.widths.trainable)


def update_bytes(step: TrainingStep) -> int:
    """What the optimizer's step takes for a moment, beside all that is held."""
    tensors = step.footprint.trained_tensors(step.shape)
    return step.train.optimizer_settings.update_bytes(tensors, step.widths.trainable, step.device, step.train)


def optimizer_bytes_per_weight(optimizer: OptimizerSettings, width: int) -> float:
    """Bytes of state for one weight, of ``width`` bytes, in a large matrix between the embedding and the head."""
    return optimizer.tensor_bytes(LARGE_MATRIX, width) / LARGE_MATRIX.size


def still_mapped_bytes(step: TrainingStep) -> int:
    """On a CPU, weights that were copied to train in 32 bits stay resident in the mapped model file, too."""
    everything_trains = step.footprint.trained_layers == step.shape.layers and step.footprint.embedding
    # A model that trains as a whole is loaded in 32 bits, and FSDP lets go of what it was loaded from: no copies then.
    unmapped = everything_trains or step.sharded
    if step.device != "cpu" or unmapped or step.widths.trainable == step.widths.frozen:
        return 0
    return step.trained_model_params * step.widths.frozen
