"""What a step takes where it samples answers before it learns from them: while they are drawn, judged and rewarded.

What is held all the while comes on top of every moment, those of the updates included: the kept weights of the
reference policy, a value head, a reward model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from trainables.stages.forward_pass import RewardModel, Round

if TYPE_CHECKING:
    from trainables.memory.step import Prediction, Step

# Bytes a logit.
DRAWN = 18  # of the next token: in the model's type, and in 32 bits it, what is allowed, scaled, its softmax
CAST = 6  # while autocast lasts: in the arithmetic's type and in 32 bits
JUDGED = 16  # then, in 32 bits: it, its log-probability, its probability, and what that adds to the entropy
REWARDED = 16  # answers that a reward model reads at a time


def moments(step: Step, answers: Round, stays: bool) -> list[Prediction]:
    """Those of the updates and of what comes before; ``stays``: the reference is the policy without its adapters."""
    reward = answers.reward and answers.reward.known(step.taken, step.shape, stays)
    kept = 0 if stays else _kept(step)
    model = reward.held(step.shape, step.bytes.frozen, step.device) if reward else 0
    found = [*step.moments(), _drawing(step, answers), *_judging(step, 0)]
    found += [] if stays else _judging(step, _put_back(step))
    found += [_rewarding(step, answers, reward)] if reward else []
    return [
        replace(moment, reference=moment.reference + kept, value=_value(step), reward=model)
        for moment in found
    ]


# What is held all the while


def _own(step: Step) -> int:
    """Weights of the model itself that train."""
    return step.taken.trained_params(step.shape) - step.taken.adapter_params(step.shape)


def _kept(step: Step) -> int:
    """The trained weights as they were: the model's own in the type they came in, adapters in the one they train in."""
    wide = step.bytes
    return wide.frozen * _own(step) + wide.trainable * step.taken.adapter_params(step.shape)


def _put_back(step: Step) -> int:
    """The same while the reference is asked, cast to the type they train in."""
    wide = step.bytes
    return 0 if wide.frozen == wide.trainable else wide.trainable * _own(step)


def _value(step: Step) -> int:
    """A linear layer to one number, in 32 bits, with its gradient and AdamW's moments."""
    return (step.shape.hidden + 1) * (4 + 4 + 8)


# Moments without gradients


def _drawing(step: Step, answers: Round) -> Prediction:
    """The last token of the answers, with the keys and values of all before it, or the prompts going through."""
    shape, width = step.shape, step.bytes.frozen
    cached = 2 * width * shape.kv_heads * shape.head_dim * answers.rows
    prompt = step.batch.tokens - answers.new
    last = cached * step.batch.tokens * (shape.layers + 1)  # a layer's cache is copied to grow
    first = cached * prompt * shape.layers + _passing(step, answers.rows, prompt)
    return _still(step, _as_saved(step) + max(first, last), DRAWN * answers.rows * shape.vocab)


def _judging(step: Step, put_back: int) -> Iterator[Prediction]:
    """A mini-batch under autocast, which ends with the logits, and then what is made of them."""
    batch, each = step.batch, step.batch.labels * step.shape.vocab
    casts = step.casts() + step.head_cast()
    passing = _passing(step, batch.rows, batch.tokens)
    last = batch.all * step.shape.hidden * step.residual()
    yield _still(step, casts + passing, 0, put_back)
    yield _still(step, casts + last, CAST * each, put_back)
    yield _still(step, last, JUDGED * each, put_back)


def _rewarding(step: Step, answers: Round, reward: RewardModel) -> Prediction:
    """Some answers with their prompts; an adapter's model is the policy, evaluated."""
    passing = _passing(step, min(REWARDED, answers.rows), step.batch.tokens)
    return _still(step, passing + (_as_saved(step) if reward.adapter else 0), 0)


def _still(step: Step, activations: float, logits: float, reference: float = 0) -> Prediction:
    """A moment without any gradient, accumulated ones neither."""
    return replace(step.moment(0, activations, logits, reference), gradients=0)


def _as_saved(step: Step) -> int:
    """Copies of what trains in the type it is saved in, for as long as the policy is evaluated."""
    wide = step.bytes
    return 0 if wide.frozen == wide.trainable else wide.frozen * step.taken.trained_params(step.shape)


def _passing(step: Step, rows: int, tokens: int) -> int:
    """Of the layer that ``rows`` sequences of ``tokens`` tokens are in, where nothing is kept: its input and the MLP's
    three products, or the attention's matrix as it is made.
    """
    shape, c = step.shape, step.bytes.compute
    matrix = shape.heads * tokens * (4 + c) if step.attention == "eager" else 0
    inside = max(3 * c * shape.intermediate, matrix + 3 * c * shape.heads * shape.head_dim)
    return rows * tokens * (2 * step.residual() * shape.hidden + inside)
