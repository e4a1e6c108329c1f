"""The moments of a training step when memory may be highest: at the head, in each layer's backward pass, at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from trainables.memory.activations import FP32
from trainables.memory.sizes import StepSizes
from trainables.memory.step import MemoryPrediction
from trainables.stages.forward_pass import WholeLogits
from trainables.training.label_head.sizes import CAST_PIECE, GPU_TILE, cpu_chunk_tokens

OTHER = {"cpu": 8 * 2**20, "cuda": 0}  # rows, masks, rotary tables


def training_moments(sizes: StepSizes) -> list[MemoryPrediction]:
    """Every moment of a step in its order: the head's backward pass, the layers', the embedding's, the optimizer."""
    if not sizes.batch.labels:  # a reward head: its logits are a number a row
        head = [moment(sizes, 0, sizes.kept, 0)]
    elif sizes.logits is not None:
        head = _whole_logits_moments(sizes, sizes.logits)
    else:
        head = _gpu_head_moments(sizes) if sizes.device == "cuda" else _cpu_head_moments(sizes)
    return [moment(sizes, 0, sizes.forward, 0), *head, *_layer_moments(sizes), *_final_moments(sizes)]


def moment(
    sizes: StepSizes,
    gradients: float,
    activations: float,
    logits: float,
    reference: float = 0,
    send_buffer: float = 0,
    in_flight: float = 0,
) -> MemoryPrediction:
    """A moment when ``gradients`` bytes of gradients have been computed, beside all that is always held; in bytes.

    ``in_flight``: gradients that are yet to be added or copied to where they stay, see ``StepSizes.gradients_stay``.
    """
    total, group = sizes.gradients, sizes.group
    # Gradients of earlier batches live on where they are accumulated.
    accumulated = group.share(total) if sizes.accumulates else 0
    return MemoryPrediction(
        weights=int(group.share(sizes.weights)),
        gradients=int(max(group.gradients(gradients, total), accumulated) + in_flight),
        optimizer=int(group.share(sizes.optimizer)),
        activations=int(activations),
        logits=int(logits),
        quantization=sizes.quantization,
        reference=int(reference),
        gathered=int(group.gathered(backward=gradients > 0) + send_buffer),
        other=int(OTHER[sizes.device] + sizes.still_mapped),
    )


# At the head


def _whole_logits_moments(sizes: StepSizes, logits: WholeLogits) -> list[MemoryPrediction]:
    """While the loss is computed, while its gradient is, and while the head's weight gradient is."""
    count, kept, head_cast = sizes.batch.labels * sizes.vocab, sizes.kept, sizes.head_cast
    # Without checkpointing, what is kept includes the casts: there the backward pass needs them.
    layer_casts = sizes.layer_casts if sizes.checkpointing else 0
    kept_logits = logits.kept * count + head_cast
    forward = kept_logits + logits.forward * count
    moments = [moment(sizes, 0, kept, kept_logits + logits.backward * count)]
    if logits.cast is None:  # the loss is computed within autocast
        moments.append(moment(sizes, 0, kept + layer_casts, forward))
    else:  # autocast, and with it the layers' casts, ends before the loss
        moments.append(moment(sizes, 0, kept + layer_casts, head_cast + logits.cast * count))
        moments.append(moment(sizes, 0, kept, forward))
    return [*moments, *(_head_gradient_moments(sizes, count) if sizes.head_trains else [])]


def _head_gradient_moments(sizes: StepSizes, count: int) -> list[MemoryPrediction]:
    """While the head's weight gradient (vocab, hidden) is computed, beside the gradient of ``count`` logits.

    It comes in the products' type and is then cast to the weights' type.
    """
    widths, head, kept = sizes.widths, sizes.head_params, sizes.kept
    gradient, logit_gradients = widths.compute * head, widths.compute * count
    if not widths.autocast:
        return [_head_moment(sizes, gradient, kept, logit_gradients)]
    return [
        moment(sizes, 0, kept, sizes.head_cast + logit_gradients + gradient),
        _head_moment(sizes, widths.trainable * head, kept, gradient),
    ]


def _head_moment(sizes: StepSizes, gradient: float, activations: float, logits: float) -> MemoryPrediction:
    """A moment when the head's ``gradient`` has been computed, and none else."""
    return moment(sizes, gradient, activations, logits, in_flight=gradient * sizes.gradients_stay)


def _gpu_head_moments(sizes: StepSizes) -> list[MemoryPrediction]:
    """While TRL's fused head computes the loss tile by tile, and while it computes the gradients, logits again.

    Its kernels need nothing beside a tile, and leave the gradient in its place.
    """
    widths, labels, kept = sizes.widths, sizes.batch.labels, sizes.kept
    tokens, vocab = (min(each) for each in zip(GPU_TILE, (labels, sizes.vocab), strict=True))
    # The tile's rows of the head in the products' type.
    tile = widths.compute * vocab * (tokens + widths.autocast * sizes.hidden)
    hidden_gradient = (widths.compute + FP32) * labels * sizes.hidden
    # Without checkpointing, what is kept includes the casts: there the backward pass needs them.
    layer_casts = sizes.layer_casts if sizes.checkpointing else 0
    gradient = widths.trainable * sizes.head_params * sizes.head_trains
    return [
        moment(sizes, 0, kept + layer_casts, tile),
        _head_moment(sizes, gradient, kept, tile + hidden_gradient + _head_sum(sizes)),
    ]


def _cpu_head_moments(sizes: StepSizes) -> list[MemoryPrediction]:
    """While the head of ``training.label_head`` computes the loss with its gradients, and when the latter are used.

    Some processors multiply 16 bits as they are, and on others it is done in 32 bits. Where it isn't known which one
    trains, the larger counts.
    """
    widths, labels, kept = sizes.widths, sizes.batch.labels, sizes.kept
    known = sizes.multiplies_in_32_bits
    ways = (widths.compute, FP32) if known is None else (FP32 if known else widths.compute,)
    logits = max(_cpu_logits(sizes, width) for width in ways)
    hidden_gradient = (widths.compute + FP32) * labels * sizes.hidden
    layer_casts = sizes.layer_casts if sizes.checkpointing else 0
    head_sum = FP32 * sizes.head_params * sizes.head_trains
    gradient = widths.trainable * sizes.head_params * sizes.head_trains
    return [
        _head_moment(
            sizes,
            head_sum,
            kept + layer_casts,
            logits + hidden_gradient,
        ),
        _head_moment(sizes, gradient, kept, hidden_gradient + _head_sum(sizes)),
    ]


def _cpu_logits(sizes: StepSizes, width: int) -> int:
    """The logits (tokens, vocab) of a chunk and what is beside them, where products have numbers of ``width`` bytes."""
    head, piece = sizes.head_params, min(CAST_PIECE, sizes.head_params)
    is_cast = width != (sizes.widths.trainable if sizes.head_trains else sizes.widths.frozen)
    logits = width * sizes.vocab * cpu_chunk_tokens(sizes.batch.labels, sizes.vocab, width)
    if width == FP32:
        return logits + FP32 * piece * is_cast  # a part of the head at a time
    # The head as a whole, and a part of its gradient at a time.
    return logits + width * (head * is_cast + piece * sizes.head_trains)


def _head_sum(sizes: StepSizes) -> int:
    """The head's gradient is summed up in fp32, and cast at the end where its weights aren't."""
    cast = sizes.head_trains and sizes.widths.trainable != FP32
    return FP32 * sizes.head_params if cast else 0


# In the layers


def _layer_moments(sizes: StepSizes) -> Iterator[MemoryPrediction]:
    """Each layer's backward pass, last layer first.

    Gradients grow from layer to layer, while what was kept for them is freed.
    """
    # The head's gradient (vocab, hidden) is there already, where it trains and predicts tokens.
    gradients = float(_head_gradient(sizes))
    waiting, kept = sizes.tied_head_gradient, float(sizes.kept)
    yield moment(sizes, gradients, kept + sizes.before_layers, 0, in_flight=waiting)
    for layer in sizes.layers:
        # The first moments are without, the last one is with the layer's gradients.
        *during, at_end = layer.peaks
        for peak in during:
            yield moment(sizes, gradients, kept + peak, 0, in_flight=waiting)
        gradients += layer.gradients
        yield moment(sizes, gradients, kept + at_end - layer.gradients, 0, in_flight=waiting)
        kept -= layer.kept


def _head_gradient(sizes: StepSizes) -> int:
    return sizes.widths.trainable * sizes.head_params * (sizes.head_trains and sizes.batch.labels > 0)


# At the end


def _final_moments(sizes: StepSizes) -> list[MemoryPrediction]:
    """The embedding's gradient is made as large as the embedding and added to the head's where they are tied; then
    gradients outside the layers are sent, and the optimizer steps.
    """
    total, waiting = sizes.gradients, sizes.tied_head_gradient
    return [
        moment(sizes, total, sizes.embedding, 0, in_flight=waiting),
        moment(sizes, total, 0, 0, send_buffer=sizes.group.final_send_buffer(), in_flight=waiting),
        replace(moment(sizes, total, 0, 0), update=int(sizes.group.share(sizes.update))),
    ]
