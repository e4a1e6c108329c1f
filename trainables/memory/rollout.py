"""The moments of a step of PPO or GRPO: sampling answers, scoring their tokens, rewarding them, then the updates.

Held at all of these moments, the updates included: the reference policy's kept weights, a value head, a reward model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from trainables.memory.activations import evaluated_layer_bytes, head_cast_bytes, layer_cast_bytes
from trainables.memory.moments import moment, training_moments

if TYPE_CHECKING:
    from trainables.memory.sizes import StepSizes
    from trainables.memory.step import MemoryPrediction, TrainingStep
    from trainables.methods.footprint import Footprint
    from trainables.stages.forward_pass import RewardModelFootprint, Rollout

# Bytes per logit.
# Of the next token: in the model's type (2 bytes); in 32 bits the logit, the allowed one, the scaled one, its softmax.
SAMPLING = 18
CASTING = 6  # while autocast lasts: in the products' type and in 32 bits
SCORING = 16  # in 32 bits: the logit, its log-probability, its probability, and its term of the entropy
REWARDED_AT_A_TIME = 16  # answers in one forward pass of the reward model


def rollout_moments(
    step: TrainingStep, sizes: StepSizes, rollout: Rollout, kept: Footprint | None
) -> list[MemoryPrediction]:
    """All moments of such a step; ``kept``: what of the reference is kept, ``None`` where it is the policy with its
    adapters off.
    """
    reference_stays = kept is None
    if not rollout.has_reference:
        kept = None
    reward = rollout.reward and rollout.reward.resolve(step.footprint, step.shape, reference_stays)
    reward_bytes = reward.held_bytes(step.shape, step.widths.frozen, step.device) if reward else 0
    reference_bytes = 0 if kept is None else _kept_reference_bytes(step, kept)
    moments = [
        *training_moments(sizes),
        _sampling_moment(step, sizes, rollout),
    ]
    # Without values, only the reference scores the answers; the policy does with the updates.
    moments += _scoring_moments(step, sizes, 0) if rollout.learns_values or rollout.has_reference else []
    moments += [] if kept is None else _scoring_moments(step, sizes, _restored_reference_bytes(step))
    moments += [_rewarding_moment(step, sizes, rollout, reward)] if reward else []
    return [
        replace(
            each,
            reference=each.reference + reference_bytes,
            value=_value_head_bytes(step) if rollout.learns_values else 0,
            reward=reward_bytes,
        )
        for each in moments
    ]


# What is held at every moment


def _kept_reference_bytes(step: TrainingStep, kept: Footprint) -> int:
    """The trained weights before training: the model's in the type they were loaded in, adapters in their own."""
    widths = step.widths
    adapters = kept.adapter_params(step.shape)
    return widths.frozen * (kept.trained_params(step.shape) - adapters) + widths.trainable * adapters


def _restored_reference_bytes(step: TrainingStep) -> int:
    """The model's kept weights cast to the type they train in, while the reference policy stands in the policy's
    place."""
    widths = step.widths
    return 0 if widths.frozen == widths.trainable else widths.trainable * step.trained_model_params


def _value_head_bytes(step: TrainingStep) -> int:
    """A linear layer (1, hidden) with a bias in 32 bits, its gradient, and AdamW's two moments."""
    return (step.shape.hidden + 1) * (4 + 4 + 8)


# Moments without gradients


def _sampling_moment(step: TrainingStep, sizes: StepSizes, rollout: Rollout) -> MemoryPrediction:
    """The forward pass over the prompts, or the answers' last token with a full cache: whichever is larger."""
    shape, width = step.shape, step.widths.frozen
    per_token = 2 * width * shape.kv_heads * shape.head_dim * rollout.rows  # keys and values of one layer
    prompt = step.batch.tokens - rollout.new_tokens
    last = per_token * step.batch.tokens * (shape.layers + 1)  # one layer's cache is copied to grow
    first = per_token * prompt * shape.layers + evaluated_layer_bytes(step, rollout.rows, prompt)
    # Only the last position's logits: (rows, vocab).
    logits = SAMPLING * rollout.rows * shape.vocab
    return _moment_without_gradients(sizes, _saved_type_copies(step) + max(first, last), logits)


def _scoring_moments(step: TrainingStep, sizes: StepSizes, restored: int) -> Iterator[MemoryPrediction]:
    """A mini-batch's log-probabilities: the layers and the logits under autocast, then the softmax after it.

    ``restored`` is what the reference policy takes beside its kept weights, in bytes.
    """
    batch, count = step.batch, step.batch.labels * step.shape.vocab
    casts = layer_cast_bytes(step) + head_cast_bytes(step)
    in_a_layer = evaluated_layer_bytes(step, batch.rows, batch.tokens)
    last_hidden = batch.all_tokens * step.shape.hidden * step.residual_width  # (rows, tokens, hidden)
    yield _moment_without_gradients(sizes, casts + in_a_layer, 0, restored)
    if batch.logits is None:  # computed tile by tile, of which the updates take as much
        return
    yield _moment_without_gradients(sizes, casts + last_hidden, CASTING * count, restored)
    yield _moment_without_gradients(sizes, last_hidden, SCORING * count, restored)


def _rewarding_moment(
    step: TrainingStep, sizes: StepSizes, rollout: Rollout, reward: RewardModelFootprint
) -> MemoryPrediction:
    """The reward model's forward pass; a reward adapter's model is the policy, evaluated."""
    # A whole reward model is taken to have layers of the policy's dimensions, whatever its own are.
    in_a_layer = evaluated_layer_bytes(step, min(REWARDED_AT_A_TIME, rollout.rows), step.batch.tokens)
    return _moment_without_gradients(
        sizes, in_a_layer + (_saved_type_copies(step) if reward.adapter else 0), 0
    )


def _moment_without_gradients(
    sizes: StepSizes, activations: float, logits: float, reference: float = 0
) -> MemoryPrediction:
    """Before the first update no gradients are there, accumulated ones neither."""
    return replace(moment(sizes, 0, activations, logits, reference), gradients=0)


def _saved_type_copies(step: TrainingStep) -> int:
    """Copies of the trained weights in the type they are saved in, which the policy is evaluated with."""
    widths = step.widths
    return (
        0 if widths.frozen == widths.trainable else widths.frozen * step.footprint.trained_params(step.shape)
    )
