"""Greedy answers to prompts: their texts, what a reward model makes of them, and their distance from the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from trainables.config.trained_model import TrainedModel
from trainables.data.rows import Conversation
from trainables.tokenization.encode import Encoded

if TYPE_CHECKING:
    from trainables.training.policy import Policy


class AnswerLimits(Protocol):
    """The settings of a stage that bound its answers; ``eval_batch``: answers generated at a time."""

    @property
    def max_new_tokens(self) -> int: ...
    @property
    def min_new_tokens(self) -> int: ...
    @property
    def eval_batch(self) -> int: ...


def greedy_answers(limits: AnswerLimits, policy: Policy, prompts: Sequence[Encoded]) -> list[list[int]]:
    """The tokens of the greedy answer to each prompt, its end token included."""
    from trainables.scoring.generation import continue_greedily, end_tokens

    starts = [row.input_ids for row in prompts]
    answers = continue_greedily(
        policy, starts, limits.max_new_tokens, limits.eval_batch, limits.min_new_tokens
    )
    ends = set(end_tokens(policy))
    return [_up_to_end(answer, ends) for answer in answers]


def decoded(policy: Policy, answers: Sequence[list[int]]) -> list[str]:
    """The texts of answers, without special tokens and stripped."""
    texts = policy.tokenizer.batch_decode(list(answers), skip_special_tokens=True)
    return [text.strip() for text in texts]


def answers_kl(policy: Policy, prompts: Sequence[Encoded], answers: Sequence[list[int]], batch: int) -> float:
    """ln policy/reference of the answers, in nats per answer."""
    from trainables.scoring.likelihood import log_likelihoods
    from trainables.training.reference_policy import as_reference

    rows = [
        # Labels on the answer alone: those of a prompt are IGNORED.
        Encoded(row.input_ids + answer, row.labels + answer, len(row.input_ids), truncated=False)
        for row, answer in zip(prompts, answers, strict=True)
    ]
    policy_likelihoods = log_likelihoods(policy, rows, batch)
    with as_reference(policy):
        reference_likelihoods = log_likelihoods(policy, rows, batch)
    both = zip(policy_likelihoods, reference_likelihoods, strict=True)
    return sum(trained.logprob - untrained.logprob for trained, untrained in both) / len(rows)


def model_rewards(
    trained: TrainedModel, policy: Policy, rows: Sequence[Any], answers: Sequence[str], cutoff: int
) -> list[float]:
    """A reward model's rewards of the rows' answers: (rows,). Raises ``RewardModelError``."""
    from trainables.stages.rewards.reward_model import rewards
    from trainables.tokenization.encode import encode

    assert trained.folder is not None
    # Encoded anew from the text, as in the reward model's training; the sampled tokens may be others.
    pairs = zip(rows, answers, strict=True)
    conversations = (Conversation(row.prompt, answer, (), row.tools) for row, answer in pairs)
    return rewards(policy, trained.folder, [encode(each, policy.tokenizer, cutoff) for each in conversations])


def _up_to_end(answer: list[int], ends: set[int]) -> list[int]:
    """The answer's tokens up to the first end token, that one included."""
    places = (place for place, token in enumerate(answer, start=1) if token in ends)
    return answer[: next(places, len(answer))]
