"""Pre-training: the loss is on every token of running text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.data.rows import Text
from trainables.stages.base import Metric, ScoredRow, Scores, TrainingStage
from trainables.stages.causal_lm import causal_trainer
from trainables.stages.forward_pass import Batch, RowLength
from trainables.tokenization import token_stream
from trainables.tokenization.deferred_tokenizer import AnyTokenizer, loaded
from trainables.tokenization.encode import IGNORED, Encoded, encode_text, has_start_token

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class Pretrain(TrainingStage):
    """Loss on all tokens. A text longer than the cutoff is split, so that all of it is trained on.

    Quality is bits per byte of the texts in UTF-8: -sum(log p) / (ln 2 x bytes), as in The Pile (Gao et al., 2020,
    arXiv:2101.00027, section 3.1), which is comparable across tokenizers.
    """

    kind: Literal["pretrain"] = "pretrain"
    eval_batch: int = Field(default=8, ge=1)

    row_type: ClassVar[type] = Text
    can_pack: ClassVar[bool] = True
    can_stream: ClassVar[bool] = True

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        return causal_trainer(policy, self.tokens(policy.tokenizer, rows, cutoff), train, cutoff, arguments)

    def steps(
        self,
        tokenizer: AnyTokenizer,
        rows: Sequence[Any],
        train: TrainConfig,
        cutoff: int,
    ) -> int:
        if train.packing != "stream" or train.steps is not None:
            return super().steps(tokenizer, rows, train, cutoff)
        tokens = self.tokens(tokenizer, rows, cutoff)
        return train.total_steps(token_stream.block_count(tokens, cutoff, has_start_token(loaded(tokenizer))))

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """The text in pieces of at most ``cutoff`` tokens; the last one ends with the end-of-sequence token.

        Each piece begins with the start token, which has no label: the first token of the text is predicted from it.
        """
        start = tokenizer.bos_token_id if has_start_token(tokenizer) else tokenizer.eos_token_id
        text, remarks = encode_text(tokenizer, row.text)
        ids = [*text, tokenizer.eos_token_id]
        size = cutoff - 1  # the start token takes a place
        parts = [ids[place : place + size] for place in range(0, len(ids), size)]
        return [Encoded([start, *part], [IGNORED, *part], 1, False, remarks) for part in parts]

    def quality(self, data: Data) -> Metric:
        return Metric("bits_per_byte", higher_is_better=False, unit="bits per byte")

    def objective_name(self) -> str:
        return "minus bits per byte"

    def validation_scores(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        bits = self.bits(policy, rows, cutoff).sum() / sum(map(_bytes, rows))
        return {"objective": -float(bits), "validation_bits_per_byte": float(bits)}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        bits = self.bits(policy, rows, cutoff)
        scored = tuple(
            ScoredRow(number, "[]", row.text, None, float(cost) / max(_bytes(row), 1), float(_bytes(row)))
            for number, (row, cost) in enumerate(zip(rows, bits, strict=True))
        )
        lengths = self.tokens(policy.tokenizer, rows, cutoff, scoring=True).lengths
        return Scores(
            scored,
            {
                "bits_per_byte": float(bits.sum()) / sum(map(_bytes, rows)),
                # The start token of each piece isn't predicted.
                "loss": float(bits.sum()) * math.log(2) / int((lengths - 1).sum()),  # nats per token
            },
        )

    def forward_pass(self, rows: int, length: RowLength) -> Batch:
        return Batch(rows, length.tokens, self.labelled(rows, length))

    def longest_row(self, tokenizer: AnyTokenizer, rows: Sequence[Any], cutoff: int) -> tuple[Any, RowLength]:
        row, length = super().longest_row(tokenizer, rows, cutoff)
        # One piece alone, as a longer text would become several rows of the batch; no piece is longer than the first.
        used = loaded(tokenizer)
        first = self.encode(used, row, cutoff)[0]
        return Text(str(used.decode(first.input_ids[1:]))), length

    def bits(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> np.ndarray:
        """Minus the log2-likelihood of each text, summed over its pieces: (rows,)."""
        from trainables.scoring.likelihood import log_likelihoods

        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        nats = [-judged.logprob for judged in log_likelihoods(policy, tokens, self.eval_batch)]
        # The pieces of a text share its row number, by which their nats are added up.
        return np.bincount(tokens.rows, weights=nats, minlength=len(rows)) / math.log(2)


def _bytes(row: Text) -> int:
    return len(row.text.encode())
