"""The moments of a training step when memory may be highest: at the head, in each layer's backward pass, at the end."""

from __future__ import annotations

from trainables.memory.activations import FP32, head_cast_bytes, kept_bytes, layer_bytes, layer_cast_bytes
from trainables.memory.held import (
    gradient_bytes,
    optimizer_bytes,
    quantization_bytes,
    still_mapped_bytes,
    weight_bytes,
)
from trainables.memory.step import MemoryPrediction, TrainingStep
from trainables.stages.forward_pass import WholeLogits
from trainables.training.fused_head import TILES

# Bytes a logit of a tile beside the product itself, in the forward and in the backward pass: intermediate results on a
# CPU, where a GPU has one kernel that needs none and leaves the gradient in the product's place.
TILE_STEPS = {"cpu": (4 * FP32, 8 * FP32), "cuda": (0, 0)}
OTHER = {"cpu": 8 * 2**20, "cuda": 0}  # rows, masks, rotary tables


def training_moments(step: TrainingStep) -> list[MemoryPrediction]:
    """Every moment of a step in its order: the head's backward pass, the layers', the embedding's, the optimizer."""
    if step.batch.logits is not None:
        head = _whole_logits_moments(step, step.batch.logits)
    elif step.batch.labels:
        head = _tiled_logits_moments(step)
    else:  # a reward head: its logits are a number a row
        head = [moment(step, 0, kept_bytes(step), 0)]
    return [*head, *_layer_moments(step), *_final_moments(step)]


def moment(
    step: TrainingStep,
    gradients: float,
    activations: float,
    logits: float,
    reference: float = 0,
    send_buffer: float = 0,
) -> MemoryPrediction:
    """A moment when ``gradients`` bytes of gradients have been computed, beside all that is always held; in bytes."""
    total, group = gradient_bytes(step), step.group
    # Gradients of earlier batches live on where they are accumulated.
    accumulated = group.share(total) if step.train.gradient_accumulation > 1 else 0
    return MemoryPrediction(
        weights=int(group.share(weight_bytes(step))),
        gradients=int(max(group.gradients(gradients, total), accumulated)),
        optimizer=int(group.share(optimizer_bytes(step))),
        activations=int(activations),
        logits=int(logits),
        quantization=quantization_bytes(step),
        reference=int(reference),
        gathered=int(group.gathered(backward=gradients > 0) + send_buffer),
        other=int(OTHER[step.device] + still_mapped_bytes(step)),
    )


# At the head


def _whole_logits_moments(step: TrainingStep, logits: WholeLogits) -> list[MemoryPrediction]:
    """While the loss is computed, while its gradient is, and while the head's weight gradient is."""
    count = step.batch.labels * step.shape.vocab  # logits
    kept = kept_bytes(step)
    head_cast = head_cast_bytes(step)
    # Without checkpointing, layer_bytes counts the casts: there the backward pass needs them.
    layer_casts = layer_cast_bytes(step) if step.train.gradient_checkpointing else 0
    kept_logits = logits.kept * count + head_cast
    forward = kept_logits + logits.forward * count
    moments = [moment(step, 0, kept, kept_logits + logits.backward * count)]
    if logits.cast is None:  # the loss is computed within autocast
        moments.append(moment(step, 0, kept + layer_casts, forward))
    else:  # autocast, and with it the layers' casts, ends before the loss
        moments.append(moment(step, 0, kept + layer_casts, head_cast + logits.cast * count))
        moments.append(moment(step, 0, kept, forward))
    return [*moments, *(_head_gradient_moments(step, count) if step.footprint.head else [])]


def _head_gradient_moments(step: TrainingStep, count: int) -> list[MemoryPrediction]:
    """While the head's weight gradient (vocab, hidden) is computed, beside the gradient of ``count`` logits.

    It comes in the products' type and is then cast to the weights' type.
    """
    widths, head, kept = step.widths, step.shape.embedding_params, kept_bytes(step)
    gradient, logit_gradients = widths.compute * head, widths.compute * count
    if not widths.autocast:
        return [moment(step, gradient, kept, logit_gradients)]
    return [
        moment(step, 0, kept, head_cast_bytes(step) + logit_gradients + gradient),
        moment(step, widths.trainable * head, kept, gradient),
    ]


def _tiled_logits_moments(step: TrainingStep) -> list[MemoryPrediction]:
    """While TRL's fused head computes the loss tile by tile, and while it computes the gradients, logits again."""
    shape, widths, labels, kept = step.shape, step.widths, step.batch.labels, kept_bytes(step)
    tokens, vocab = (min(sizes) for sizes in zip(TILES[step.device], (labels, shape.vocab), strict=True))
    # The tile's rows of the head in the products' type, and in fp32, in which a CPU multiplies gradients.
    in_fp32 = FP32 if step.device == "cpu" and widths.compute != FP32 else 0
    head_rows = (widths.compute * widths.autocast + in_fp32) * vocab * shape.hidden
    hidden_gradient = (widths.compute + FP32) * labels * shape.hidden
    # The head's gradient is summed up in fp32, and cast at the end where its weights aren't.
    trains = step.footprint.head
    head_sum = FP32 * shape.embedding_params if trains and widths.trainable != FP32 else 0
    forward, backward = (
        (widths.compute + steps) * tokens * vocab + head_rows for steps in TILE_STEPS[step.device]
    )
    # Without checkpointing, layer_bytes counts the casts: there the backward pass needs them.
    layer_casts = layer_cast_bytes(step) if step.train.gradient_checkpointing else 0
    gradient = widths.trainable * shape.embedding_params * trains
    return [
        moment(step, 0, kept + layer_casts, forward),
        moment(step, gradient, kept, backward + hidden_gradient + head_sum),
    ]


# In the layers


def _layer_moments(step: TrainingStep) -> list[MemoryPrediction]:
    """Each layer's backward pass, last layer first, when it begins and when it ends.

    Gradients grow from layer to layer, while what was kept for them is freed.
    """
    shape, footprint, widths = step.shape, step.footprint, step.widths
    moments = []
    kept = float(kept_bytes(step))
    # The head's gradient (vocab, hidden) is there already, where it trains and predicts tokens.
    gradients = float(widths.trainable * shape.embedding_params * (footprint.head and step.batch.labels > 0))
    adapter_gradients = widths.trainable * footprint.adapter_params(shape) / shape.layers
    # Gradients of activations in flight: of the MLP's product (tokens, intermediate) and the residual (tokens, hidden).
    transient = step.batch.all_tokens * widths.compute * (shape.intermediate + shape.hidden)
    waiting = step.group.tied_head_gradient()
    reached = step.reached_layers
    for number in range(reached):
        trains = footprint.trains_layer(shape, shape.layers - 1 - number)
        recomputed = layer_bytes(step, trains) if step.train.gradient_checkpointing else 0
        moments.append(moment(step, gradients, kept + recomputed + transient, 0, send_buffer=waiting))
        gradients += adapter_gradients + (widths.trainable * shape.layer_params if trains else 0)
        # Equal parts: what is kept is spread over the layers that are left, and 0 after the last one.
        kept -= kept / (reached - number)
        moments.append(moment(step, gradients, kept + transient, 0, send_buffer=waiting))
    return moments


# At the end


def _final_moments(step: TrainingStep) -> list[MemoryPrediction]:
    """The embedding's gradient is made as large as the embedding and added to the head's where they are tied; then
    gradients outside the layers are sent, and the optimizer steps.
    """
    embedding = step.widths.trainable * step.shape.embedding_params if step.footprint.embedding else 0
    total, waiting = gradient_bytes(step), 2 * step.group.tied_head_gradient()
    send_buffer = waiting + step.group.final_send_buffer()
    return [
        moment(step, total, embedding, 0, send_buffer=waiting),
        moment(step, total, 0, 0, send_buffer=send_buffer),
    ]
