"""Chosen against rejected: how pairs are encoded, trained on and told apart, for every stage that learns preferences.

A policy orders a pair by the mean log-probability of an answer's tokens, so that a longer answer is not the less
likely for its length; that needs no reference policy and is the same for every method and stage. A model that
rewards answers orders it by their rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from trainables.auc import auc
from trainables.data.rows import Conversation, Labelled, Preference
from trainables.stages.base import Metric, Prediction, Scores, TrainingStage
from trainables.tokenization import batching
from trainables.tokenization.encode import Encoded, encode

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.methods.base import FineTuning
    from trainables.scoring.likelihood import Judged
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy


@dataclass(frozen=True)
class Margins:
    """What each row's answers are worth: mean log-probabilities per token in nats, or rewards. (rows,) each."""

    chosen: np.ndarray
    rejected: np.ndarray

    @property
    def accuracy(self) -> float:
        """The share of pairs in the right order; a tie counts half."""
        return float(np.mean(self.right))

    @property
    def right(self) -> np.ndarray:
        return (self.chosen > self.rejected) + 0.5 * (self.chosen == self.rejected)

    @property
    def log_sigmoid(self) -> float:
        """Mean of ln sigmoid(chosen - rejected): the Bradley-Terry log-likelihood of the right order."""
        return float(-np.mean(np.logaddexp(0, self.rejected - self.chosen)))


class PairStage(TrainingStage):
    """A stage that learns from pairs, and whose quality is the share of held-out pairs that it orders rightly."""

    needs: ClassVar[type] = Preference
    sequences: ClassVar[int] = 2

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """Two: the chosen answer after its prompt, and the rejected one; labels on the answers."""
        return [encode_answer(tokenizer, row, answer, cutoff) for answer in (row.chosen, row.rejected)]

    def quality(self, data: Data) -> Metric:
        return Metric("pair_accuracy", higher_is_better=True, unit="fraction")

    def objective_name(self) -> str:
        return "log-likelihood of the right order"  # in nats per pair

    def objective(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        found = self.margins(policy, rows, cutoff)
        return {"objective": found.log_sigmoid, "validation_pair_accuracy": found.accuracy}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        """Per row 1, 0, or 0.5 for a tie. ``loss``: minus the log-likelihood of the right order, in nats."""
        from trainables.scoring.likelihood import judge, mean_logprobs

        both = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        judged = judge(policy, both, self.eval_batch) if self.task == "CAUSAL_LM" else None
        worth = self.worth(policy, both) if judged is None else mean_logprobs(judged)
        found = Margins(worth[0::2], worth[1::2])
        margin = float(np.mean(found.chosen - found.rejected))  # in what the answers' worth is in
        metrics = {"pair_accuracy": found.accuracy, "margin": margin, "loss": -found.log_sigmoid}
        said: list[str | None] = [None] * len(rows)
        if judged is not None:
            metrics["auc"] = auc(found.chosen, found.rejected)
            right = [row.chosen for row in rows]
            said, matches = answered(policy, data, both[0::2], judged[0::2], right, self.eval_batch)
            metrics |= matches
        predictions = tuple(
            Prediction(
                number, row.prompt_json(), row.chosen, answer, float(right), None, float(good), float(bad)
            )
            for number, (row, answer, right, good, bad) in enumerate(
                zip(rows, said, found.right, found.chosen, found.rejected, strict=True)
            )
        )
        return Scores(predictions, metrics)

    def margins(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> Margins:
        """What each row's answers are worth to the policy."""
        both = self.worth(policy, self.tokens(policy.tokenizer, rows, cutoff, scoring=True))
        return Margins(both[0::2], both[1::2])

    def worth(self, policy: Policy, answers: Sequence[Encoded]) -> np.ndarray:
        """What decides between answers: how likely the policy finds each, (answers,)."""
        return answer_logprobs(policy, answers, self.eval_batch)


def answered(
    policy: Policy,
    data: Data,
    good: Sequence[Encoded],
    judged: Sequence[Judged],
    references: Sequence[str],
    batch: int,
) -> tuple[list[str | None], dict[str, float]]:
    """Greedy answers, and their ``exact_match`` with the good ones where each prompt has one right answer; where it
    hasn't, a few answers to look at, and nothing else.
    """
    from trainables.scoring.generation import exact_matches, samples

    if not data.exact or not references:
        return samples(policy, good, judged), {}
    answers, matches = exact_matches(policy, good, judged, references, batch)
    return list(answers), {"exact_match": sum(matches) / len(matches)}


def drawn_pairs(
    tokens: Tokens, train: TrainConfig, settings: Any, columns: Callable[[Encoded, Encoded], dict[str, Any]]
) -> tuple[Iterator[dict[str, Any]], np.ndarray, np.ndarray]:
    """The pairs that the steps of ``settings`` reach, each once, as the ``columns`` of its chosen and rejected answer;
    the order they are drawn in, as places among these; and the drawn ones' lengths (rows, 2) in tokens.

    ``tokens`` has the chosen and the rejected answer of each row in turn.
    """
    lengths = tokens.lengths.reshape(-1, 2)
    count = train.rows_seen(settings.max_steps, len(lengths), settings.world_size)
    order = batching.order(lengths.max(1), count, **train.batching())
    reached, places = np.unique(order, return_inverse=True)
    rows = (columns(tokens[int(2 * row)], tokens[int(2 * row + 1)]) for row in reached)
    return rows, places, lengths[order]


def pair_trainer(
    cls: Any, policy: Policy, settings: Any, tokens: Tokens, train: TrainConfig
) -> transformers.Trainer:
    """One of TRL's trainers over pairs, with a reference policy."""
    # Reference log-probabilities are computed for every row that a trainer is given: it isn't given others.
    return reference_trainer(cls, policy, settings, *drawn_pairs(tokens, train, settings, pair_columns))


def reference_unshared(kind: str, method: FineTuning | None) -> str | None:
    """Why workers can't share weights where a reference is asked in every step; ``None`` where it was before them."""
    if method is None or not method.reference_stays:
        return None
    return f"{kind}'s reference is a second adapter, of which there are no shares"


def reference_trainer(
    cls: Any,
    policy: Policy,
    settings: Any,
    rows: Iterable[dict[str, Any]],
    order: np.ndarray,
    lengths: np.ndarray,
    reference_columns: tuple[str, str] = ("ref_chosen_logps", "ref_rejected_logps"),
) -> transformers.Trainer:
    """One of TRL's trainers with a reference policy, over rows of tokens that are cut to length already.

    ``order`` says by their places which are drawn when, ``lengths`` how long the drawn ones are;
    ``reference_columns`` is what the trainer calls what it computes of the reference.
    """
    import torch
    from torch.utils.data import DataLoader

    from trainables.training.trainer_setup import on_disk, trainer_over

    class Tokenized(cls):
        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            return dataset

        def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
            with self.accelerator.autocast():  # as in training, or they would not cancel at the first step
                return super().compute_ref_log_probs(model, inputs)

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            """Reference log-probabilities as columns, (rows,) each; every worker computes its share of the rows.

            TRL keeps them in a file, where other workers don't find it: its folder is each process's own.
            """
            loader = DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator)
            gather = self.accelerator.gather_for_metrics
            found = [
                gather(self.compute_ref_log_probs(self.model, batch))
                for batch in self.accelerator.prepare(loader)
            ]
            for column, values in zip(reference_columns, zip(*found, strict=True), strict=True):
                dataset = dataset.add_column(column, torch.cat(values).float().cpu().numpy())
            return dataset

    return trainer_over(Tokenized, policy, settings, on_disk(rows), order, lengths)


def reference_free_trainer(
    cls: Any, policy: Policy, settings: Any, tokens: Tokens, train: TrainConfig
) -> transformers.Trainer:
    """One of TRL's trainers over pairs that know no reference; rows are tokens that are cut to length already.

    TRL would tokenize rows itself, and cut an answer to what its prompt and the longer answer leave of the length,
    which may be nothing. Here it is given a data set that isn't changed.
    """
    from datasets import Dataset

    from trainables.training.trainer_setup import on_disk, trainer_over

    class Ready(Dataset):
        def map(self, *args: Any, **options: Any) -> Any:
            return self

    rows, order, lengths = drawn_pairs(tokens, train, settings, _sides)
    return trainer_over(cls, policy, settings, on_disk(rows, Ready), order, lengths)


def _sides(chosen: Encoded, rejected: Encoded) -> dict[str, list[int]]:
    """TRL's columns of both answers with their prompts: input_ids, attention_mask, labels."""
    columns: dict[str, list[int]] = {}
    for side, one in (("chosen", chosen), ("rejected", rejected)):
        columns[f"{side}_input_ids"] = one.input_ids
        columns[f"{side}_attention_mask"] = [1] * len(one.input_ids)
        columns[f"{side}_labels"] = one.labels
    return columns


def encode_answer(
    tokenizer: transformers.PreTrainedTokenizerBase, row: Preference | Labelled, answer: str, cutoff: int
) -> Encoded:
    """An answer after the row's prompt, labels on the answer."""
    return encode(Conversation(row.prompt, answer, (), row.tools), tokenizer, cutoff)


def answer_logprobs(policy: Policy, rows: Sequence[Encoded], batch: int) -> np.ndarray:
    """The mean log-probability of each row's labelled tokens, in nats: (rows,)."""
    from trainables.scoring.likelihood import judge, mean_logprobs

    return mean_logprobs(judge(policy, rows, batch))


def pair_columns(chosen: Encoded, rejected: Encoded) -> dict[str, list[int]]:
    """TRL's columns ``prompt_ids``, ``chosen_ids``, ``rejected_ids``.

    TRL has one prompt for both answers. Where the cutoff left less of it to one of them, both have that less.
    """
    prompt = min(chosen.prompt, rejected.prompt, key=len)
    return {"prompt_ids": prompt, "chosen_ids": chosen.answer, "rejected_ids": rejected.answer}
