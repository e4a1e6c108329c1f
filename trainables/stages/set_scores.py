"""How further evaluation sets are scored: by the trial's own stage, and running text beside rows of another kind by its
loss per token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.data.loading import Data, Quality
from trainables.data.rows import Text
from trainables.stages.base import Metric, ScoredRow, Scores, TrainingStage
from trainables.stages.pretrain import Pretrain

if TYPE_CHECKING:
    from trainables.data.evaluation_sets import EvaluationSet
    from trainables.tokenization.deferred_tokenizer import AnyTokenizer
    from trainables.training.policy import Policy

TEXT_LOSS = Metric("loss", higher_is_better=False, unit="nats per token")


@dataclass(frozen=True)
class SetScoring:
    """A further set of a trial's ``data``, scored as the trial's ``stage`` scores its test rows.

    Running text in a stage on other rows has its loss per token: minus the log-likelihood of a text, summed over its
    pieces of at most ``cutoff`` tokens, by their number. How far it rises in training is what the model forgets of it
    (D. Biderman and others, "LoRA Learns Less and Forgets Less", 2024, arXiv:2405.09673).
    """

    stage: TrainingStage
    data: Data
    each: EvaluationSet

    @property
    def _is_other_text(self) -> bool:
        return self.each.row_type is Text and self.stage.row_type is not Text

    @property
    def metric(self) -> Metric:
        """What is measured on the set."""
        return TEXT_LOSS if self._is_other_text else self.stage.quality(self._own_data)

    def problem(self) -> str | None:
        """Why the set can't be scored; ``None`` where it can."""
        if self._is_other_text and self.stage.task != "CAUSAL_LM":
            return (
                f"{self.each.name} is running text, and {self.stage.kind} trains a model that gives texts a score and "
                "predicts none; give a set of the kind that it is trained on"
            )
        what = None if self._is_other_text else self.stage.set_problem(self.each.rows)
        return None if what is None else f"{self.each.name}: {what}"

    def scores(self, policy: Policy, cutoff: int, rows: Sequence[Any] | None = None) -> Scores:
        """The scores of the set's rows, or of other ``rows`` of its kind."""
        rows = self.each.rows if rows is None else rows
        # The log-probabilities before training are of the test rows.
        policy = replace(policy, logprobs_before=None)
        if self._is_other_text:
            return _text_losses(policy, rows, cutoff)
        return self.stage.score(policy, self._own_data, rows, cutoff)

    def longest_batch(self, tokenizer: AnyTokenizer, cutoff: int) -> list[Any]:
        """The row that takes the most memory, as often as a batch that is scored has rows."""
        stage: TrainingStage = Pretrain() if self._is_other_text else self.stage
        return [stage.longest_row(tokenizer, self.each.rows, cutoff)[0]] * stage.eval_batch

    @property
    def _own_data(self) -> Data:
        each = self.each
        quality = Quality(each.quality) if each.quality is not None else self.data.quality
        return Data(each.source, [], [], each.rows, each.exact, each.sha256, quality=quality)


def set_scorings(stage: TrainingStage, data: Data) -> list[SetScoring]:
    """One for each further evaluation set."""
    return [SetScoring(stage, data, each) for each in data.sets]


def _text_losses(policy: Policy, rows: Sequence[Text], cutoff: int) -> Scores:
    stage = Pretrain()
    nats = stage.bits(policy, rows, cutoff) * math.log(2)  # (rows,)
    pieces = stage.tokens(policy.tokenizer, rows, cutoff, scoring=True)
    # The start token of each piece isn't predicted.
    tokens = np.bincount(pieces.rows, weights=pieces.lengths - 1, minlength=len(nats))
    scored = tuple(
        ScoredRow(number, "[]", row.text, None, float(cost / count), float(count))
        for number, (row, cost, count) in enumerate(zip(rows, nats, tokens, strict=True))
    )
    size = sum(len(row.text.encode()) for row in rows)
    bits_per_byte = float(nats.sum()) / math.log(2) / max(size, 1)
    return Scores(scored, {"loss": float(nats.sum() / tokens.sum()), "bits_per_byte": bits_per_byte})
