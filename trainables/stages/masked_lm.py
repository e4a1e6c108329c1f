"""What ``pretrain`` with ``objective: mlm`` does: it trains and scores a model that predicts masked tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.tokenization import batching
from trainables.tokenization.encode import IGNORED, Encoded
from trainables.tokenization.masking import Masking

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


def masked_trainer(
    policy: Policy, tokens: Tokens, train: TrainConfig, share: float, arguments: dict[str, Any]
) -> StageTrainer:
    """A trainer on the examples, of which a ``share`` of tokens is masked anew each time an example is drawn."""
    from transformers import TrainingArguments

    from trainables.stages.masked_trainer import MaskedCollator, MaskedRows, MaskedTrainer
    from trainables.training.trainer_setup import make_trainer

    # The trainer gets the columns of a row as they are.
    settings = TrainingArguments(**arguments, remove_unused_columns=False)
    count = train.rows_seen(settings.max_steps, len(tokens), settings.world_size)
    order = batching.example_order(tokens.lengths, count, **train.batching())
    return make_trainer(
        MaskedTrainer,
        policy,
        settings,
        MaskedRows(tokens, order, Masking.of(policy.tokenizer, share), train.seed),
        np.arange(count),
        tokens.lengths[order],
        data_collator=MaskedCollator(policy.tokenizer.pad_token_id),
    )


@dataclass(frozen=True)
class MaskedScores:
    """Of each row: ``nats`` (rows,), minus the log-likelihood of its masked tokens; ``tokens`` (rows,), how many they
    are; ``hits`` (rows,), how many of them the model finds likeliest.
    """

    nats: np.ndarray
    tokens: np.ndarray
    hits: np.ndarray

    @property
    def loss(self) -> float:
        """Nats per masked token, over all rows."""
        return float(self.nats.sum() / self.tokens.sum())

    @property
    def accuracy(self) -> float:
        """The share of masked tokens that the model finds likeliest."""
        return float(self.hits.sum() / self.tokens.sum())


def masked_scores(policy: Policy, tokens: Tokens, rows: int, batch: int) -> MaskedScores:
    """The scores of ``rows`` rows, whose pieces are ``tokens``: 15 % of each are masked, whatever training masks."""
    from trainables.scoring.likelihood import map_in_batches

    found = map_in_batches(policy, tokens, batch, _score_batch)
    columns = np.array(found, np.float64).reshape(-1, 3).T
    # The pieces of a text share its row number, by which what is found of them is added up.
    return MaskedScores(*(np.bincount(tokens.rows, weights=column, minlength=rows) for column in columns))


def _score_batch(policy: Policy, rows: Sequence[Encoded]) -> Iterator[tuple[float, int, int]]:
    from trainables.models.architecture.masked_positions import only_at
    from trainables.scoring.likelihood import pad_right
    from trainables.tokenization.padding import labelled_places

    masking = Masking.of(policy.tokenizer)
    masked = [masking.scored(row) for row in rows]
    ids, mask, labels = (each.to(policy.device) for each in pad_right(masked, policy.tokenizer.pad_token_id))
    places = labelled_places(labels)
    with only_at(policy.causal, places):
        logits = policy.causal(input_ids=ids, attention_mask=mask).logits[0].float()  # (masked, vocab)
    targets = labels.flatten()[places]
    logprobs = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)
    hits = logits.argmax(1) == targets
    counts = (labels != IGNORED).sum(1).tolist()
    for some, right, count in zip(logprobs.split(counts), hits.split(counts), counts, strict=True):
        yield -float(some.sum()), count, int(right.sum())
