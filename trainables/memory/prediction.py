"""The predicted peak of a training step, from a model's dimensions alone: nothing is loaded, nothing is allocated.

A step is walked through moment by moment, and the highest moment is the prediction:

- ``step``: what it depends on, and the result
- ``held``: weights, gradients, optimizer state
- ``activations``: what autograd keeps
- ``moments``: a training step; ``rollout``: what PPO does before its updates
- ``data_parallel``: what changes where several workers train together

Verified against measured peaks in ``tests/trainables/memory/test_prediction.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trainables.memory.moments import training_moments
from trainables.memory.rollout import rollout_moments
from trainables.memory.step import MemoryPrediction, TrainingStep
from trainables.models.architecture.decoder_shape import DecoderShape
from trainables.stages.forward_pass import Batch

if TYPE_CHECKING:
    from trainables.trial.config import TrialConfig


def predict(
    config: TrialConfig, shape: DecoderShape, batch: Batch, device: str, attention: str, workers: int = 1
) -> MemoryPrediction:
    """The peak while training one step after the first, above the process's baseline, in bytes.

    ``batch`` is one worker's share of a forward pass, and the peak is that of one worker. ``device`` is "cpu" or
    "cuda", ``attention`` transformers' name of the implementation. The base model's config, which has no method, has
    no training step to predict.
    """
    assert config.method is not None
    reference_stays = config.method.reference_stays
    if not batch.labels:  # a reward head stands in the place of the one that predicts tokens
        shape = replace(shape, reward_head=True)
    footprint = config.method.footprint(shape)
    step = TrainingStep(config.train, shape, footprint, batch, device, attention, config.model.dtype, workers)
    if batch.rollout is not None:
        moments = rollout_moments(step, batch.rollout, reference_stays)
    else:
        moments = training_moments(step)
    return max(moments, key=lambda moment: moment.total)
