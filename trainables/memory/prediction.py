"""The peak of a training step, foretold from a model's numbers: nothing is loaded, nothing is allocated.

What autograd keeps is counted tensor by tensor, as transformers' Llama-like decoders under autocast keep it; then a
step is walked through, and its highest moment is the prediction. Verified against measured peaks in
``tests/test_prediction.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from trainables.memory import rollout
from trainables.memory.step import Prediction, Step
from trainables.models.decoder_shape import Shape
from trainables.stages.forward_pass import Batch

if TYPE_CHECKING:
    from trainables.trial.config import TrialConfig


def predict(
    config: TrialConfig, shape: Shape, batch: Batch, device: str, attention: str, workers: int = 1
) -> Prediction:
    """The peak while training one step after the first, above the process's baseline.

    Of several workers it is one's, whose share of the rows ``batch`` is.
    """
    assert config.method is not None
    stays = config.method.reference_stays
    if not batch.labels:
        shape = replace(shape, rewards=True)
    if batch.logits is not None and not stays:
        batch = replace(batch, logits=replace(batch.logits, reference=0))  # it answered before the first step
    step = Step(
        config.train,
        shape,
        config.method.footprint(shape),
        batch,
        device,
        attention,
        config.model.dtype,
        workers,
    )
    moments = step.moments()
    if batch.round is not None:
        moments = rollout.moments(step, batch.round, stays)
    return max(moments, key=lambda moment: moment.total)
