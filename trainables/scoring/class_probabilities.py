"""The probabilities that a classifier gives to labels, and what follows: the given labels, likelihoods, measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from trainables.auc import auc
from trainables.scoring.label_scores import label_scores, macro_f1

if TYPE_CHECKING:
    from trainables.tokenization.encode import Encoded
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy


@dataclass(frozen=True)
class ClassProbabilities:
    """``logits`` (rows, labels): the head's output for each of the ``labels`` for each row.

    >>> found = ClassProbabilities(np.array([[2.0, 0.0], [0.0, 1.0]]), ("a", "b"), several=False)
    >>> found.given, found.measures([("a",), ("a",)])["accuracy"]
    ([('a',), ('b',)], 0.5)
    """

    logits: np.ndarray
    labels: tuple[str, ...]
    several: bool

    @cached_property
    def logprobs(self) -> np.ndarray:
        """The log-probability of each label for each row, (rows, labels): by softmax, so that a row's probabilities sum
        to 1, or by a sigmoid of each where ``several`` may apply, each of that label alone.
        """
        if self.several:
            alone: np.ndarray = -np.logaddexp(0, -self.logits)
            return alone
        shifted: np.ndarray = self.logits - self.logits.max(1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))

    @cached_property
    def given(self) -> list[tuple[str, ...]]:
        """The labels that each row is given: the likeliest, or those that are likelier than not."""
        if self.several:
            names = np.array(self.labels)
            return [tuple(names[row].tolist()) for row in self.logprobs > np.log(0.5)]
        return [(self.labels[int(place)],) for place in self.logprobs.argmax(1)]

    def likelihoods(self, right: Sequence[Sequence[str]]) -> np.ndarray:
        """The log-likelihood of each row's ``right`` labels in nats: (rows,). Of several, the mean over all labels."""
        has = np.array([[label in labels for label in self.labels] for labels in right])
        if not self.several:
            chosen: np.ndarray = np.where(has, self.logprobs, 0.0).sum(1)
            return chosen
        # log(1 - p) of the logit, as p itself is rounded to 1 where the model is sure.
        mean: np.ndarray = np.where(has, self.logprobs, -np.logaddexp(0, self.logits)).mean(1)
        return mean

    def is_right(self, right: Sequence[Sequence[str]]) -> list[float]:
        """1 for each row that is given exactly its labels, else 0."""
        return [float(set(given) == set(labels)) for given, labels in zip(self.given, right, strict=True)]

    def measures(self, right: Sequence[Sequence[str]]) -> dict[str, float]:
        """``accuracy``, ``loss`` (nats per row), where any row has a label ``macro_f1``, and for two labels
        ``roc_auc``: the share of pairs of a row of each that are ordered rightly, ties half.
        """
        rights = self.is_right(right)
        found = {
            "accuracy": sum(rights) / len(rights),
            "loss": -float(self.likelihoods(right).mean()),
        }
        if any(right):
            found["macro_f1"] = macro_f1(label_scores(right, self.given))
        if not self.several and len(self.labels) == 2:
            second = np.array([labels[0] == self.labels[1] for labels in right])
            if second.any() and not second.all():
                found["roc_auc"] = auc(self.logprobs[second, 1], self.logprobs[~second, 1])
        return found


def class_probabilities(
    policy: Policy, tokens: Tokens, batch: int, labels: tuple[str, ...], several: bool
) -> ClassProbabilities:
    """The probabilities that a classifier gives to ``labels`` for the rows of ``tokens``, ``batch`` rows at once."""
    from trainables.scoring.likelihood import map_in_batches

    return ClassProbabilities(np.array(map_in_batches(policy, tokens, batch, _batch_logits)), labels, several)


def _batch_logits(policy: Policy, rows: Sequence[Encoded]) -> Iterator[list[float]]:
    from trainables.scoring.likelihood import last_hidden_states, pad_right

    if not hasattr(policy.causal, "score"):  # an encoder's head is of several layers
        ids, mask, _ = (each.to(policy.device) for each in pad_right(rows, policy.tokenizer.pad_token_id))
        yield from policy.causal(input_ids=ids, attention_mask=mask).logits.float().tolist()
        return
    # In 32 bits, as likelihoods are computed of them.
    last = last_hidden_states(policy.causal.base_model, rows, policy)
    yield from (last @ policy.causal.score.weight.float().T).tolist()
