"""The sizes that make up the moments of a training step, and where a formula says them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.config.optimizers import TrainedTensor
from trainables.memory.activations import head_cast_bytes, kept_bytes, layer_bytes, layer_cast_bytes
from trainables.memory.byte_widths import ByteWidths
from trainables.memory.data_parallel import DataParallelGroup
from trainables.memory.held import (
    gradient_bytes,
    optimizer_bytes,
    quantization_bytes,
    still_mapped_bytes,
    update_bytes,
    weight_bytes,
)

if TYPE_CHECKING:
    from trainables.memory.step import TrainingStep
    from trainables.stages.forward_pass import Batch, WholeLogits


@dataclass(frozen=True)
class LayerBackward:
    """The backward pass of one decoder layer, in bytes.

    ``peaks``: what is in use at moments of it, in their order, above what was when it began. When it ends there are
    ``gradients`` more, and what the layer ``kept`` for it is free.
    """

    peaks: tuple[float, ...]
    gradients: float
    kept: float


@dataclass(frozen=True)
class StepSizes:
    """All that the moments of a step are put together from, for one worker that computes ``batch``; in bytes.

    ``logits``: as in ``Batch``, for this model.

    ``weights``, ``quantization``, ``optimizer`` and ``gradients`` (once all are there) are those of a lone worker.
    ``still_mapped``: of a file, beside copies that train. ``kept``: for the backward pass when it begins.
    ``layer_casts``, ``head_cast``: autocast's copies of weights beside it. ``layers``: last one first.
    ``head_params``: weights of the head that predicts tokens, (vocab, ``hidden``); ``head_trains``: whether it trains.
    ``embedding``: what is there for a moment, beside all gradients, while the embedding's is computed.
    ``update``: what the optimizer's step takes for a moment. ``before_layers``: for a moment between the head and the
    layers of the backward pass; ``forward``: in the forward pass, before the head. ``multiplies_in_32_bits``: as in
    ``TrainingStep``.
    """

    batch: Batch
    logits: WholeLogits | None
    device: str
    widths: ByteWidths
    group: DataParallelGroup
    checkpointing: bool
    accumulates: bool
    weights: int
    quantization: int
    gradients: int
    optimizer: int
    still_mapped: int
    kept: int
    layer_casts: int
    head_cast: int
    layers: tuple[LayerBackward, ...]
    hidden: int
    head_params: int
    head_trains: bool
    embedding: float
    update: int = 0
    before_layers: float = 0
    forward: float = 0
    multiplies_in_32_bits: bool | None = None

    @property
    def vocab(self) -> int:
        return self.head_params // self.hidden

    @property
    def gradients_stay(self) -> bool:
        """Whether all gradients stay in memory that is there from the start, and each is computed beside it: in those
        of earlier batches, or in DDP's buckets. Else autograd keeps each as it was computed.
        """
        return self.group.has_buckets or (self.accumulates and not self.group.sharded)

    @property
    def tied_head_gradient(self) -> int:
        """The gradient of a head that is the embedding waits for the embedding's before it gets where it stays."""
        return self.group.tied_head * self.gradients_stay


def embedding_gradient_is_added(accumulates: bool, group: DataParallelGroup) -> bool:
    """Whether the embedding's gradient is for a moment there twice, as it is added to another one or to a bucket."""
    return group.tied_head > 0 or accumulates or group.has_buckets


def formula_sizes(step: TrainingStep) -> StepSizes:
    """The sizes of a step of a plain decoder with gated MLPs."""
    shape, footprint = step.shape, step.footprint
    group, accumulates = _group(step), step.train.gradient_accumulation > 1
    added = footprint.embedding and embedding_gradient_is_added(accumulates, group)
    return StepSizes(
        batch=step.batch,
        logits=step.batch.logits,
        device=step.device,
        widths=step.widths,
        group=group,
        checkpointing=step.train.gradient_checkpointing,
        accumulates=accumulates,
        weights=weight_bytes(step),
        quantization=quantization_bytes(step),
        gradients=gradient_bytes(step),
        optimizer=optimizer_bytes(step),
        still_mapped=still_mapped_bytes(step),
        kept=kept_bytes(step),
        layer_casts=layer_cast_bytes(step),
        head_cast=head_cast_bytes(step),
        layers=tuple(_layers(step)),
        hidden=shape.hidden,
        head_params=shape.embedding_params,
        head_trains=footprint.head,
        embedding=step.widths.trainable * shape.embedding_params if added else 0,
        update=update_bytes(step),
        multiplies_in_32_bits=step.multiplies_in_32_bits,
    )


def _layers(step: TrainingStep) -> Iterator[LayerBackward]:
    """Each layer's backward pass, last layer first, when it begins and when it ends."""
    shape, footprint, widths = step.shape, step.footprint, step.widths
    adapter_gradients = widths.trainable * footprint.adapter_params(shape) / shape.layers
    # Gradients of activations in flight: of the MLP's product (tokens, intermediate) and the residual (tokens, hidden).
    transient = transient_activations = (
        step.batch.all_tokens * widths.compute * (shape.intermediate + shape.hidden)
    )
    settings = step.train.optimizer_settings
    matrices = [TrainedTensor((outputs, inputs)) for inputs, outputs in shape.linear.values()]
    # Where updates are made in the backward pass: a gradient of a matrix, and what its update takes.
    largest = widths.trainable * max(matrix.size for matrix in matrices)
    largest += settings.update_bytes(matrices, widths.trainable, step.device, step.train)
    reached = step.reached_layers
    for number in range(reached):
        trains = footprint.trains_layer(shape, shape.layers - 1 - number)
        recomputed = layer_bytes(step, trains) if step.train.gradient_checkpointing else 0
        gradients = adapter_gradients + (widths.trainable * shape.layer_params if trains else 0)
        if settings.updates_in_backward:
            transient, gradients = largest + transient_activations, 0.0  # those of one matrix at a time
        # Equal parts: what is kept is spread over the layers.
        kept = kept_bytes(step) / reached
        yield LayerBackward((recomputed + transient, gradients - kept + transient), gradients, kept)


def _group(step: TrainingStep) -> DataParallelGroup:
    shape, footprint, widths = step.shape, step.footprint, step.widths
    # PPO's trainer averages gradients in place, without DDP's buckets: each worker is like a lone one.
    rollout = step.batch.rollout
    workers = 1 if rollout is not None and rollout.learns_values else step.workers
    trained_layer = widths.trainable * (
        (shape.layer_params if footprint.trained_layers else 0)
        + footprint.adapter_params(shape) / shape.layers
    )
    # Where some layers train, the largest gathered layer is one of these: all of its weights train.
    frozen_layer = 0 if footprint.trained_layers else widths.frozen * shape.layer_params
    trained_outside = (
        footprint.trained_params(shape)
        - footprint.adapter_params(shape)
        - footprint.trained_layers * shape.layer_params
    )
    all_outside = shape.params - shape.layers * shape.layer_params
    tied = footprint.head and footprint.embedding and shape.tied and shape.outputs is None
    return DataParallelGroup(
        workers=workers,
        sharded=step.sharded,
        layer=trained_layer + frozen_layer,
        trained_layer=trained_layer,
        outside=widths.trainable * trained_outside + widths.frozen * (all_outside - trained_outside),
        trained_outside=widths.trainable * trained_outside,
        tied_head=widths.trainable * shape.embedding_params if tied else 0,
    )
