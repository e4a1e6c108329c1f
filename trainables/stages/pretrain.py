"""Pre-training: the loss is on every token of running text, or on those of it that are masked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.data.rows import Text
from trainables.stages.base import Metric, ScoredRow, Scores, Task, TrainingStage, TrialParts
from trainables.stages.causal_lm import causal_trainer
from trainables.stages.forward_pass import Batch, RowLength, WholeLogits
from trainables.stages.masked_lm import MaskedScores, masked_scores, masked_trainer
from trainables.tokenization import masking, token_stream
from trainables.tokenization.deferred_tokenizer import AnyTokenizer, loaded
from trainables.tokenization.encode import IGNORED, Encoded, encode_text, has_start_token
from trainables.tokenization.encoder_input import encode_pieces
from trainables.tokenization.text_piece import TextPiece

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.models.architecture.model_classes import ModelKind
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class Pretrain(TrainingStage):
    """Loss on all tokens. A text longer than the cutoff is split, so that all of it is trained on.

    Quality is bits per byte of the texts in UTF-8: -sum(log p) / (ln 2 x bytes), as in The Pile (Gao et al., 2020,
    arXiv:2101.00027, section 3.1), which is comparable across tokenizers.

    With ``objective: mlm`` an encoder such as BERT predicts tokens that are masked: a share ``mask`` of each piece,
    drawn anew in each epoch (``tokenization.masking``). Its quality is the loss per masked token of the texts, of
    which 15 % are masked whatever ``mask`` is, by a mask that depends on the text alone.
    """

    kind: Literal["pretrain"] = "pretrain"
    objective: Literal["causal", "mlm"] = "causal"
    mask: float = Field(default=masking.SHARE, gt=0, lt=1)
    eval_batch: int = Field(default=8, ge=1)

    row_type: ClassVar[type] = Text
    can_pack: ClassVar[bool] = True
    can_stream: ClassVar[bool] = True
    encoding: ClassVar[tuple[str, ...]] = ("objective",)

    @property
    def is_masked(self) -> bool:
        """Whether it trains encoders, by masked tokens."""
        return self.objective == "mlm"

    @property
    def task(self) -> Task:
        return "MASKED_LM" if self.is_masked else "CAUSAL_LM"

    @property
    def model_kinds(self) -> tuple[ModelKind, ...]:
        return ("encoder",) if self.is_masked else ("decoder",)

    @property
    def loss_share(self) -> float:
        return self.mask if self.is_masked else 1.0

    def drawn(
        self, tokenizer: transformers.PreTrainedTokenizerBase, example: Encoded, number: int, seed: int
    ) -> Encoded:
        if not self.is_masked:
            return example
        return masking.Masking.of(tokenizer, self.mask).trained(example, seed, number, draw=0)

    def problems(self, trial: TrialParts, data: Data | None) -> Iterator[tuple[str, str]]:
        if self.is_masked and trial.train.packing:
            yield "objective", "mlm has each piece of text in a row of its own; leave packing out"

    def without_effect(self) -> Iterator[tuple[str, str]]:
        if not self.is_masked:
            yield "mask", "objective is causal, which masks nothing"

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        if self.is_masked:
            return masked_trainer(policy, tokens, train, self.mask, arguments)
        return causal_trainer(policy, tokens, train, cutoff, arguments)

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
        Those of an encoder are between its own first and last token; which of the labelled tokens are masked is decided
        when the piece is drawn.
        """
        if isinstance(row, TextPiece):
            return [row.example]
        if self.is_masked:
            return encode_pieces(tokenizer, row.text, cutoff)
        start = tokenizer.bos_token_id if has_start_token(tokenizer) else tokenizer.eos_token_id
        text, remarks = encode_text(tokenizer, row.text)
        ids = [*text, tokenizer.eos_token_id]
        size = cutoff - 1  # the start token takes a place
        parts = [ids[place : place + size] for place in range(0, len(ids), size)]
        return [Encoded([start, *part], [IGNORED, *part], 1, False, remarks) for part in parts]

    def quality(self, data: Data) -> Metric:
        if self.is_masked:
            return Metric("masked_loss", higher_is_better=False, unit="nats per masked token")
        return Metric("bits_per_byte", higher_is_better=False, unit="bits per byte")

    def objective_name(self) -> str:
        return "minus loss per masked token" if self.is_masked else "minus bits per byte"

    def validation_scores(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        if self.is_masked:
            loss = self._masked(policy, rows, cutoff).loss
            return {"objective": -loss, "validation_masked_loss": loss}
        bits = self.bits(policy, rows, cutoff).sum() / sum(map(_bytes, rows))
        return {"objective": -float(bits), "validation_bits_per_byte": float(bits)}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        if self.is_masked:
            return self._masked_scores(policy, rows, cutoff)
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
        if self.is_masked:
            maskable = length.tokens if length.labels is None else length.labels
            labels = rows * masking.masked_count(maskable, self.mask)
            return Batch(rows, length.tokens, labels, WholeLogits())
        return Batch(rows, length.tokens, self.labelled(rows, length))

    def longest_row(self, tokenizer: AnyTokenizer, rows: Sequence[Any], cutoff: int) -> tuple[Any, RowLength]:
        row, length = super().longest_row(tokenizer, rows, cutoff)
        # One piece alone, as a longer text would become several rows of the batch; no piece is longer than the first.
        used = loaded(tokenizer)
        first = self.encode(used, row, cutoff)[0]
        text = first.input_ids[1:-1] if self.is_masked else first.input_ids[1:]
        return TextPiece(str(used.decode(text)), first), length

    def _masked(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> MaskedScores:
        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        return masked_scores(policy, tokens, len(rows), self.eval_batch)

    def _masked_scores(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> Scores:
        found = self._masked(policy, rows, cutoff)
        scored = tuple(
            ScoredRow(number, "[]", row.text, None, float(nats / max(count, 1)), float(count))
            for number, (row, nats, count) in enumerate(zip(rows, found.nats, found.tokens, strict=True))
        )
        return Scores(scored, {"masked_loss": found.loss, "masked_accuracy": found.accuracy})

    def bits(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> np.ndarray:
        """Minus the log2-likelihood of each text, summed over its pieces: (rows,)."""
        from trainables.scoring.likelihood import log_likelihoods

        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        nats = [-judged.logprob for judged in log_likelihoods(policy, tokens, self.eval_batch)]
        # The pieces of a text share its row number, by which their nats are added up.
        return np.bincount(tokens.rows, weights=nats, minlength=len(rows)) / math.log(2)


def _bytes(row: Text) -> int:
    return len(row.text.encode())
