"""Pre-training: the loss is on every token of running text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.data.rows import Text
from trainables.stages.base import Metric, Prediction, Scores, TrainingStage
from trainables.stages.causal_lm import causal_trainer
from trainables.stages.forward_pass import Batch
from trainables.tokenization.encode import IGNORED, Encoded

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.training.policy import Policy


class Pretrain(TrainingStage):
    """Loss on all tokens. A text that is longer than the cutoff is trained on in pieces, none of it is lost.

    Quality is bits per byte of the texts in UTF-8: -sum(log p) / (ln 2 x bytes), as in The Pile (Gao et al., 2020,
    arXiv:2101.00027, section 3.1), which doesn't depend on the tokenizer.
    """

    kind: Literal["pretrain"] = "pretrain"
    eval_batch: int = Field(default=8, ge=1)

    needs: ClassVar[type] = Text
    packs: ClassVar[bool] = True

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> transformers.Trainer:
        return causal_trainer(policy, self.tokens(policy.tokenizer, rows, cutoff), train, cutoff, arguments)

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """A text in pieces of at most ``cutoff`` tokens, each of which begins with a token that starts a text, which
        bears no loss and gives the first of the text something to follow from; after the last comes the end of
        sequence.
        """
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        ids = [*tokenizer(row.text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        room = cutoff - 1
        parts = [ids[place : place + room] for place in range(0, len(ids), room)]
        return [Encoded([start, *part], [IGNORED, *part], prompt_tokens=1, truncated=False) for part in parts]

    def quality(self, data: Data) -> Metric:
        return Metric("bits_per_byte", higher_is_better=False, unit="bits per byte")

    def objective_name(self) -> str:
        return "minus bits per byte"

    def objective(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        bits = self.bits(policy, rows, cutoff).sum() / sum(map(_bytes, rows))
        return {"objective": -float(bits), "validation_bits_per_byte": float(bits)}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        bits = self.bits(policy, rows, cutoff)
        predictions = tuple(
            Prediction(number, "[]", row.text, None, float(found) / max(_bytes(row), 1), float(_bytes(row)))
            for number, (row, found) in enumerate(zip(rows, bits, strict=True))
        )
        lengths = self.tokens(policy.tokenizer, rows, cutoff, scoring=True).lengths
        return Scores(
            predictions,
            {
                "bits_per_byte": float(bits.sum()) / sum(map(_bytes, rows)),
                "loss": float(bits.sum()) * math.log(2) / int((lengths - 1).sum()),  # nats per token
            },
        )

    def forward_pass(self, rows: int, tokens: int) -> Batch:
        return Batch(rows, tokens, labels=rows * tokens)

    def longest(
        self, tokenizer: transformers.PreTrainedTokenizerBase, rows: Sequence[Any], cutoff: int
    ) -> tuple[Any, int]:
        row, length = super().longest(tokenizer, rows, cutoff)
        # A longer text would be several rows of a batch: its first piece is as long as any.
        first = self.encode(tokenizer, row, cutoff)[0]
        return Text(str(tokenizer.decode(first.input_ids[1:]))), length

    def bits(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> np.ndarray:
        """What each text costs, in bits: (rows,)."""
        from trainables.scoring.likelihood import judge

        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        nats = [-judged.logprob for judged in judge(policy, tokens, self.eval_batch)]
        return np.bincount(tokens.rows, weights=nats, minlength=len(rows)) / math.log(2)


def _bytes(row: Text) -> int:
    return len(row.text.encode())
