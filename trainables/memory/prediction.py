"""The predicted peak of a training step, from a model's dimensions alone: nothing is loaded, nothing is allocated.

A step is walked through moment by moment, and the highest moment is the prediction:

- ``step``: what it depends on, and the result
- ``held``: weights, gradients, optimizer state; ``activations``: what autograd keeps, both by a formula for plain
  decoders with gated MLPs
- ``tracing``: the same for all other models, from a step on tensors without contents
- ``sizes``: the numbers that either gives
- ``moments``: a training step; ``rollout``: what PPO does before its updates
- ``data_parallel``: what changes where several workers train together

Verified against measured peaks in ``tests/trainables/memory/test_prediction.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainables.memory.moments import training_moments
from trainables.memory.rollout import rollout_moments
from trainables.memory.sizes import formula_sizes
from trainables.memory.step import MemoryPrediction, TrainingStep
from trainables.memory.tracing.case import TracedCase
from trainables.memory.tracing.traced_sizes import traced_sizes
from trainables.memory.tracing.tracing_process import traced
from trainables.models.architecture.decoder_shape import DecoderShape, MemoryNotPredictable
from trainables.stages.forward_pass import Batch

if TYPE_CHECKING:
    from trainables.trial.config import TrialConfig


def predict(
    config: TrialConfig,
    shape: DecoderShape,
    batch: Batch,
    device: str,
    attention: str,
    workers: int = 1,
    multiplies_in_32_bits: bool | None = None,
) -> MemoryPrediction:
    """The peak while training one step after the first, above the process's baseline, in bytes.

    ``batch`` is one worker's share of a forward pass, and the peak is that of one worker. ``device`` is "cpu" or
    "cuda", ``attention`` transformers' name of the implementation; ``multiplies_in_32_bits`` as in ``TrainingStep``.
    The base model's config, which has no method, has no training step to predict. Raises ``MemoryNotPredictable`` for a
    method that the formula doesn't cover.
    """
    assert config.method is not None
    if batch.outputs is not None:  # another head stands in the place of the one that predicts tokens
        shape = replace(shape, outputs=batch.outputs)
    footprint = config.method.footprint(shape)
    dtype = config.model.dtype
    step = TrainingStep(
        config.train, shape, footprint, batch, device, attention, dtype, workers, multiplies_in_32_bits
    )
    sizes = formula_sizes(step)
    if batch.rollout is not None:
        kept = None if config.method.reference_stays else config.method.footprint_over_time(shape)
        return _highest(rollout_moments(step, sizes, batch.rollout, kept))
    return _highest(training_moments(sizes))


def predict_by_trace(
    config: TrialConfig,
    model: Mapping[str, Any],
    batch: Batch,
    device: str,
    attention: str,
    workers: int = 1,
    multiplies_in_32_bits: bool | None = None,
) -> MemoryPrediction:
    """The same for any model, given by its ``config.json``, by a traced step in place of the formula.

    Raises ``MemoryNotPredictable`` where a step can't be traced. Takes seconds, unless the trace is in the cache.
    """
    if batch.rollout is not None:
        raise MemoryNotPredictable("no formula covers it, and the sampling of answers can't be traced")
    trace = traced(TracedCase.of_trial(config, model, batch, attention))
    sizes = traced_sizes(config, trace, batch, device, workers, multiplies_in_32_bits)
    return _highest(training_moments(sizes))


def _highest(moments: list[MemoryPrediction]) -> MemoryPrediction:
    return max(moments, key=lambda moment: moment.total)
