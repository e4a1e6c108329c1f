"""Preference stages: how pairs of a chosen and a rejected answer are encoded, drawn and scored.

A policy ranks the two answers of a pair by their mean log-probability per token, so that longer answers aren't at a
disadvantage. That needs no reference policy and is the same for every method and stage. A reward model ranks them by
their rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainables.auc import auc
from trainables.data.rows import Conversation, Preference
from trainables.stages.base import Metric, ScoredRow, Scores, TrainingStage
from trainables.stages.sft import reference
from trainables.tokenization import batching
from trainables.tokenization.encode import IGNORED, Encoded, encode_answers, learns_something

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.methods.base import FineTuning
    from trainables.scoring.likelihood import LogLikelihood
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy

# Why layers are not compiled in a stage that compares a policy with itself before training.
REFERENCE_IS_PLAIN = (
    "the reference is computed with plain layers, from which compiled ones differ by rounding"
)


@dataclass(frozen=True)
class Margins:
    """The scores of each pair's two answers, (rows,) each: mean log-probabilities in nats per token, or rewards."""

    chosen: np.ndarray
    rejected: np.ndarray

    @property
    def accuracy(self) -> float:
        """The share of pairs in the right order; a tie counts half."""
        return float(np.mean(self.right))

    @property
    def right(self) -> np.ndarray:
        """1 for each pair in the right order, 0.5 for a tie, else 0: (rows,)."""
        return (self.chosen > self.rejected) + 0.5 * (self.chosen == self.rejected)

    @property
    def log_sigmoid(self) -> float:
        """Mean of ln sigmoid(chosen - rejected): the Bradley-Terry log-likelihood of the right order."""
        return float(-np.mean(np.logaddexp(0, self.rejected - self.chosen)))


class PairStage(TrainingStage):
    """A stage that learns from pairs. Its quality is the share of held-out pairs that it ranks rightly."""

    row_type: ClassVar[type] = Preference
    examples_per_row: ClassVar[int] = 2
    nothing_left: ClassVar[str] = (
        "the two answers are the same tokens or one has none but its end, perhaps by data.cutoff or the template"
    )

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """The prompt with the chosen answer, then with the rejected one; labels on the answers. Nothing if both are
        the same tokens.
        """
        pair = self.encode_scored(tokenizer, row, cutoff)
        learned = all(learns_something(example, tokenizer) for example in pair)
        return pair if learned and pair[0].input_ids != pair[1].input_ids else []

    def encode_scored(
        self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int
    ) -> list[Encoded]:
        """The two answers as in training, behind one prompt; a pair of the same tokens is scored as a tie."""
        pair = [encode_answers(answer, tokenizer, cutoff) for answer in row.answers()]
        prompts = [_prompt(example) for example in pair]
        if prompts[0] == prompts[1] or not any(example.truncated for example in pair):
            return pair
        # The cutoff leaves less of the prompt before a longer answer.
        shared = min(map(len, prompts))
        return [encode_answers(answer, tokenizer, cutoff, shared) for answer in row.answers()]

    def quality(self, data: Data) -> Metric:
        return Metric("pair_accuracy", higher_is_better=True, unit="fraction")

    def objective_name(self) -> str:
        return "log-likelihood of the right order"  # in nats per pair

    def validation_scores(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        margins = self.margins(policy, rows, cutoff)
        return {"objective": margins.log_sigmoid, "validation_pair_accuracy": margins.accuracy}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        """Per row 1, 0, or 0.5 for a tie. ``loss``: minus the log-likelihood of the right order, in nats."""
        from trainables.scoring.likelihood import log_likelihoods, mean_logprobs

        examples = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)  # chosen and rejected by turns
        likelihoods = log_likelihoods(policy, examples, self.eval_batch) if self.task == "CAUSAL_LM" else None
        scores = self.answer_scores(policy, examples) if likelihoods is None else mean_logprobs(likelihoods)
        margins = Margins(scores[0::2], scores[1::2])
        margin = float(np.mean(margins.chosen - margins.rejected))  # in the unit of the scores
        metrics = {"pair_accuracy": margins.accuracy, "margin": margin, "loss": -margins.log_sigmoid}
        references = answer_texts(policy, [row.answers()[0] for row in rows], examples[0::2])
        answers: list[str | None] = [None] * len(rows)
        # Rewards compare answers to one prompt alone, and a reward model generates none.
        if likelihoods is not None:
            metrics |= implicit_reward_accuracy(policy, [each.logprob for each in likelihoods])
            metrics["auc"] = auc(margins.chosen, margins.rejected)
            answers, matches = matched_answers(
                policy, data, examples[0::2], likelihoods[0::2], references, self.eval_batch
            )
            metrics |= matches
        scored = tuple(
            ScoredRow(number, row.prompt_json(), text, answer, float(right), None, float(good), float(bad))
            for number, (row, text, answer, right, good, bad) in enumerate(
                zip(rows, references, answers, margins.right, margins.chosen, margins.rejected, strict=True)
            )
        )
        return Scores(scored, metrics)

    def margins(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> Margins:
        """The scores of each row's two answers."""
        scores = self.answer_scores(policy, self.tokens(policy.tokenizer, rows, cutoff, scoring=True))
        return Margins(scores[0::2], scores[1::2])

    def answer_scores(self, policy: Policy, answers: Sequence[Encoded]) -> np.ndarray:
        """The score that answers are ranked by, the mean log-probability per token in nats: (answers,)."""
        return answer_logprobs(policy, answers, self.eval_batch)


def matched_answers(
    policy: Policy,
    data: Data,
    good: Sequence[Encoded],
    likelihoods: Sequence[LogLikelihood],
    references: Sequence[str],
    batch: int,
) -> tuple[list[str | None], dict[str, float]]:
    """Greedy answers, and ``{"exact_match": ...}`` with the ``references`` where each prompt has one right answer.

    Elsewhere a few answers to look at, ``None`` for the other rows, and no metric. ``good`` and ``likelihoods`` are of
    the references.
    """
    from trainables.scoring.generation import exact_matches, preview_answers

    if not data.exact or not references:
        return preview_answers(policy, good, likelihoods), {}
    answers, matches = exact_matches(policy, good, likelihoods, references, batch)
    return list(answers), {"exact_match": sum(matches) / len(matches)}


def implicit_reward_accuracy(policy: Policy, logprobs: Sequence[float]) -> dict[str, float]:
    """``{"implicit_reward_accuracy": ...}``: the share of pairs of which the chosen answer became likelier by more.

    ``logprobs``: of the chosen and the rejected answer of each pair by turns, summed over their tokens, in nats. Empty
    where they are not known from before training.
    """
    if policy.logprobs_before is None:
        return {}
    rewards = np.array(logprobs) - np.array(policy.logprobs_before)
    return {"implicit_reward_accuracy": Margins(rewards[0::2], rewards[1::2]).accuracy}


def draw_pairs(
    tokens: Tokens, train: TrainConfig, settings: Any, columns: Callable[[Encoded, Encoded], dict[str, Any]]
) -> tuple[Iterator[dict[str, Any]], np.ndarray, np.ndarray]:
    """The pairs that the steps of ``settings`` reach, and the order in which they are drawn.

    ``tokens`` has the chosen and the rejected answer of each row by turns. Returns the reached rows, each once, as the
    ``columns`` of its two answers; the place of each draw among these (draws,); the lengths of each draw (draws, 2).
    """
    lengths = tokens.lengths.reshape(-1, 2)
    count = train.rows_seen(settings.max_steps, len(lengths), settings.world_size)
    # A pair is as long as its longer answer, since both are padded to one length.
    order = batching.example_order(lengths.max(1), count, **train.batching())
    # Not all rows: TRL computes reference log-probabilities for every row that a trainer is given.
    reached, places = np.unique(order, return_inverse=True)
    rows = (columns(tokens[int(2 * row)], tokens[int(2 * row + 1)]) for row in reached)
    return rows, places, lengths[order]


def _prompt(example: Encoded) -> list[int]:
    """The tokens before the first answer that is learned."""
    first = next((place for place, label in enumerate(example.labels) if label != IGNORED), None)
    return example.input_ids[: example.prompt_tokens if first is None else first]


def reference_sharding_obstacle(kind: str, method: FineTuning | None) -> str | None:
    """Why workers can't shard weights where the reference policy is asked in every step; ``None`` where its
    log-probabilities are computed before training.
    """
    if method is None or not method.reference_stays:
        return None
    return f"{kind}'s reference policy is a second adapter, which can't be sharded"


def answer_texts(policy: Policy, answers: Sequence[Conversation], encoded: Sequence[Encoded]) -> list[str]:
    """The text of each last answer; of tool calls, as the chat template writes them."""
    return [
        reference(policy, answer, encoded[number]) if answer.calls else answer.answer
        for number, answer in enumerate(answers)
    ]


def answer_logprobs(policy: Policy, rows: Sequence[Encoded], batch: int) -> np.ndarray:
    """The mean log-probability of each row's labelled tokens, in nats: (rows,)."""
    from trainables.scoring.likelihood import log_likelihoods, mean_logprobs

    return mean_logprobs(log_likelihoods(policy, rows, batch))
