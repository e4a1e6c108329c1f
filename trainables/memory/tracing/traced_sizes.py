"""The sizes that make up a training step, by a trace of the model that trains."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trainables.memory.byte_widths import byte_widths
from trainables.memory.data_parallel import DataParallelGroup
from trainables.memory.sizes import LayerBackward, StepSizes, embedding_gradient_is_added
from trainables.stages.forward_pass import WholeLogits

if TYPE_CHECKING:
    from trainables.memory.byte_widths import ByteWidths
    from trainables.memory.tracing.case import LayerTrace, Trace, WeightSizes
    from trainables.stages.forward_pass import Batch
    from trainables.trial.config import TrialConfig

# Of a model whose own forward pass gives all logits, see ``training.fused_head.add_whole_head``. Kept: their
# log-softmax in fp32. Beside it in the forward pass: the model's logits and a copy of those with labels, the latter in
# fp32, too, their probabilities, and the terms of the entropy.
OWN_LOGITS = WholeLogits(kept=4, forward=14, backward=8)


def traced_sizes(
    config: TrialConfig,
    trace: Trace,
    batch: Batch,
    device: str,
    workers: int,
    multiplies_in_32_bits: bool | None = None,
) -> StepSizes:
    """The sizes of a step of a trial whose forward and backward pass was traced."""
    widths = byte_widths(config.train.precision, config.model.dtype)
    sharded = config.train.sharding == "fsdp" and workers > 1
    weights, head, layers = trace.weights, trace.head, [trace.kinds[kind] for kind in trace.layers]
    group = _group(trace, layers, widths, workers, sharded)
    optimizer = config.train.optimizer_settings
    accumulates = config.train.gradient_accumulation > 1
    adapts = config.method is not None and config.method.saves_adapter  # and trains no weight of the base
    numbers = weights.adapters * (config.method.numbers_per_weight if config.method is not None else 0)
    quantized_bytes, constant_bytes = _quantized(config, weights)
    return StepSizes(
        batch=batch,
        logits=batch.logits if head.alone else OWN_LOGITS,
        device=device,
        widths=widths,
        group=group,
        checkpointing=config.train.gradient_checkpointing,
        accumulates=accumulates,
        weights=weights.training * widths.trainable + weights.frozen_bytes + quantized_bytes,
        quantization=constant_bytes,
        gradients=_gradients(trace, config) * widths.trainable,
        optimizer=optimizer.state_bytes(trace.tensors, widths.trainable) + numbers * widths.trainable,
        update=optimizer.update_bytes(trace.tensors, widths.trainable, device, config.train),
        still_mapped=_still_mapped(weights, widths) if device == "cpu" and not sharded and not adapts else 0,
        kept=trace.outside.kept + sum(layer.kept for layer in layers),
        layer_casts=sum(each.forward - each.kept for each in (trace.outside, *layers)),
        head_cast=widths.compute * head.params if head.trains and widths.autocast else 0,
        layers=tuple(_backward_passes(layers, widths, optimizer.updates_in_backward)),
        hidden=head.hidden,
        head_params=head.params,
        head_trains=head.trains,
        embedding=_embedding_peak(trace, widths, embedding_gradient_is_added(accumulates, group)),
        before_layers=trace.last_norm_peak,
        forward=_forward_peak(trace, layers),
        multiplies_in_32_bits=multiplies_in_32_bits,
    )


def _quantized(config: TrialConfig, weights: WeightSizes) -> tuple[int, int]:
    """Bytes of the quantized weights and of their constants."""
    quantization = config.method.quantization if config.method is not None else None
    if not weights.quantized or quantization is None:
        return 0, 0
    quantizer = quantization.quantizer
    shape: Any = types.SimpleNamespace(
        linear_outputs=weights.quantized_outputs, linear_params=weights.quantized
    )
    per_weight = quantizer.bytes_per_weight(quantization, shape)
    constants = quantizer.constants_per_weight(quantization, shape)
    return int(weights.quantized * per_weight), int(weights.quantized * constants)


def _still_mapped(weights: WeightSizes, widths: ByteWidths) -> int:
    """Weights that were copied to train in 32 bits stay resident in the mapped model file, too, on a CPU."""
    everything_trains = not (weights.frozen or weights.quantized)
    return 0 if everything_trains or widths.trainable == widths.frozen else weights.trained * widths.frozen


def _gradients(trace: Trace, config: TrialConfig) -> int:
    """How many gradients are there when the backward pass is over; where it updates the weights, the embedding's come
    last.
    """
    if config.train.optimizer_settings.updates_in_backward:
        return max((each.size for each in trace.outside.tensors if each.part == "embedding"), default=0)
    return trace.weights.training


def _backward_passes(layers: list[LayerTrace], widths: ByteWidths, updates: bool) -> Iterator[LayerBackward]:
    """Those of the layers that gradients reach, last layer first; ``updates``: which drop their gradients."""
    for layer in reversed(layers):
        if not layer.backward_peak:
            return
        gradients = 0 if updates else layer.weights.training * widths.trainable
        yield LayerBackward((layer.backward_peak, gradients - layer.kept), gradients, layer.kept)


def _embedding_peak(trace: Trace, widths: ByteWidths, added: bool) -> float:
    """What is there, beside all gradients, while what comes before the first layer gets its own; ``added``: as in
    ``embedding_gradient_is_added``.
    """
    outside, head = trace.outside, trace.head
    if added:
        return outside.backward_peak
    own = widths.trainable * (outside.weights.training - (head.params if head.trains else 0))
    return max(0, outside.backward_peak - own)


def _forward_peak(trace: Trace, layers: list[LayerTrace]) -> int:
    """The most that is in use before the head, above the weights."""
    in_use, highest = trace.outside.forward, trace.outside.forward_peak
    for layer in layers:
        highest = max(highest, in_use + layer.forward_peak)
        in_use += layer.forward
    return highest


def _group(
    trace: Trace, layers: list[LayerTrace], widths: ByteWidths, workers: int, sharded: bool
) -> DataParallelGroup:
    head = trace.head

    def size(weights: WeightSizes) -> int:
        return weights.training * widths.trainable + weights.frozen_bytes

    largest = max((layer.weights for layer in layers), key=size)
    return DataParallelGroup(
        workers=workers,
        sharded=sharded,
        layer=size(largest),
        trained_layer=largest.training * widths.trainable,
        outside=size(trace.outside.weights),
        trained_outside=trace.outside.weights.training * widths.trainable,
        tied_head=widths.trainable * head.params if head.tied and head.trains else 0,
    )
