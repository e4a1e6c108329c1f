"""Supervised fine-tuning: the loss is on the answers' tokens, by TRL's SFT trainer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from trainables.data.rows import Conversation
from trainables.stages.base import Metric, ScoredRow, Scores, TrainingStage
from trainables.stages.causal_lm import causal_trainer, mean_loss
from trainables.stages.forward_pass import Batch
from trainables.tokenization.answer_text import decode_answers
from trainables.tokenization.encode import encode, training_examples

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.tokenization.encode import Encoded
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class SFT(TrainingStage):
    """Loss on the tokens of every answer; with ``train_on_prompt`` on the prompts, too; with ``mask_history`` on the
    last answer alone.

    Quality is exact match of greedy answers where the data has one right answer to each prompt, else the loss on the
    answers in nats per token. With ``predict_with_generate`` answers are generated in the latter case, too, and
    compared with the references by BLEU, chrF and ROUGE; generating takes time.
    """

    kind: Literal["sft"] = "sft"
    train_on_prompt: bool = False
    mask_history: bool = False
    predict_with_generate: bool = False

    row_type: ClassVar[type] = Conversation
    encoding: ClassVar[tuple[str, ...]] = ("train_on_prompt", "mask_history")
    can_pack: ClassVar[bool] = True

    @model_validator(mode="after")
    def _one_choice_of_labels(self) -> SFT:
        if self.train_on_prompt and self.mask_history:
            raise ValueError(
                "train_on_prompt trains on all tokens and mask_history on the last answer; give one of them"
            )
        return self

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        return causal_trainer(policy, tokens, train, cutoff, arguments)

    def forward_pass(self, rows: int, tokens: int) -> Batch:
        return Batch(rows, tokens, labels=rows * tokens)

    def quality(self, data: Data) -> Metric:
        if data.exact:
            return Metric("exact_match", higher_is_better=True, unit="fraction")
        return Metric("loss", higher_is_better=False, unit="nats per token")

    def objective_name(self) -> str:
        return "log-probability per token"  # minus the loss, in nats

    def objective(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        from trainables.scoring.likelihood import log_likelihoods

        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        loss = mean_loss(log_likelihoods(policy, tokens, self.eval_batch))
        return {"objective": -loss, "validation_loss": loss}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        from trainables.scoring.generation import exact_matches, generate_answers, preview_answers
        from trainables.scoring.likelihood import log_likelihoods, mean_logprobs
        from trainables.scoring.text_metrics import answer_similarity

        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        likelihoods = log_likelihoods(policy, tokens, self.eval_batch)
        loss = mean_loss(likelihoods)
        if data.exact:
            references = [row.answer for row in rows]
            answers, matches = exact_matches(policy, tokens, likelihoods, references, self.eval_batch)
            metrics = {"exact_match": sum(matches) / len(matches), "loss": loss}
            return Scores(_scored_rows(rows, answers, matches), metrics)
        # Each row's loss per token weighs by its tokens: the weighted mean of the rows is `loss`.
        losses, sizes = (-mean_logprobs(likelihoods)).tolist(), [float(row.tokens) for row in likelihoods]
        if not self.predict_with_generate:
            previews = preview_answers(policy, tokens, likelihoods)
            return Scores(_scored_rows(rows, previews, losses, sizes), {"loss": loss})
        generated = generate_answers(policy, tokens, likelihoods, self.eval_batch)
        references = [reference(policy, *each) for each in zip(rows, tokens, strict=True)]
        measures, _ = answer_similarity(generated, references)
        similarity = {measure.name: measure.value for measure in measures}
        return Scores(_scored_rows(rows, generated, losses, sizes), {"loss": loss, **similarity})

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """One example, or one per answer where the chat template renders earlier answers differently."""
        options = {"train_on_prompt": self.train_on_prompt, "mask_history": self.mask_history}
        return training_examples(row, tokenizer, cutoff, **options)

    def encode_scored(
        self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int
    ) -> list[Encoded]:
        """One example, with labels on the last answer."""
        return [encode(row, tokenizer, cutoff)]


def reference(policy: Policy, row: Conversation, encoded: Encoded) -> str:
    """The reference answer's text; tool calls as the chat template writes them, as the model generates them so."""
    if not row.calls:
        return row.answer
    return decode_answers(policy.tokenizer, [encoded.answer])[0]


def _scored_rows(
    rows: Sequence[Conversation],
    answers: Sequence[str | None],
    scores: Sequence[float],
    weights: Sequence[float | None] | None = None,
) -> tuple[ScoredRow, ...]:
    each = zip(rows, answers, scores, weights or repeat(None, len(rows)), strict=True)
    return tuple(
        ScoredRow(number, row.prompt_json(), row.answer, answer, score, weight)
        for number, (row, answer, score, weight) in enumerate(each)
    )
