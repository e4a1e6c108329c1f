"""Supervised fine-tuning: the loss is on the answers, through TRL's SFT trainer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from trainables.data.rows import Conversation
from trainables.stages.base import Metric, Prediction, Scores, TrainingStage
from trainables.stages.causal_lm import causal_trainer, mean_loss
from trainables.stages.forward_pass import Batch
from trainables.tokenization.encode import encode, training_rows

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.tokenization.encode import Encoded
    from trainables.training.policy import Policy


class SFT(TrainingStage):
    """Loss on every answer's tokens; on the prompts' too with ``train_on_prompt``; with ``mask_history`` on the
    last answer alone.

    Quality is exact match by greedy generation where the data has one right answer to each prompt, else the
    loss on the answers, in nats per token. With ``predict_with_generate`` the answers are written there too, greedily,
    and told apart from the references by BLEU, chrF and ROUGE; it takes as long as writing takes.
    """

    kind: Literal["sft"] = "sft"
    train_on_prompt: bool = False
    mask_history: bool = False
    predict_with_generate: bool = False

    needs: ClassVar[type] = Conversation
    encoding: ClassVar[tuple[str, ...]] = ("train_on_prompt", "mask_history")
    packs: ClassVar[bool] = True

    @model_validator(mode="after")
    def _one_way(self) -> SFT:
        if self.train_on_prompt and self.mask_history:
            raise ValueError("train_on_prompt learns all there is and mask_history the last answer; give one")
        return self

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> transformers.Trainer:
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
        from trainables.scoring.likelihood import judge

        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        loss = mean_loss(judge(policy, tokens, self.eval_batch))
        return {"objective": -loss, "validation_loss": loss}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        from trainables.scoring.generation import answers as written
        from trainables.scoring.generation import exact_matches, samples
        from trainables.scoring.likelihood import judge, mean_logprobs
        from trainables.scoring.text_metrics import likeness

        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        judged = judge(policy, tokens, self.eval_batch)
        loss = mean_loss(judged)
        if not data.exact:
            losses, sizes = (-mean_logprobs(judged)).tolist(), [float(found.tokens) for found in judged]
            if not self.predict_with_generate:
                said = samples(policy, tokens, judged)
                return Scores(_predictions(rows, said, losses, sizes), {"loss": loss})
            told = written(policy, tokens, judged, self.eval_batch)
            measures, _ = likeness(
                told, [reference(policy, *each) for each in zip(rows, tokens, strict=True)]
            )
            alike = {measure.name: measure.value for measure in measures}
            return Scores(_predictions(rows, told, losses, sizes), {"loss": loss, **alike})
        right = [row.answer for row in rows]
        answers, matches = exact_matches(policy, tokens, judged, right, self.eval_batch)
        return Scores(
            _predictions(rows, answers, matches), {"exact_match": sum(matches) / len(matches), "loss": loss}
        )

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """One, or one for each of its answers where the template renders earlier ones differently."""
        options = {"train_on_prompt": self.train_on_prompt, "mask_history": self.mask_history}
        return training_rows(row, tokenizer, cutoff, **options)

    def encode_scored(
        self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int
    ) -> list[Encoded]:
        """One, with labels on the last answer."""
        return [encode(row, tokenizer, cutoff)]


def reference(policy: Policy, row: Conversation, encoded: Encoded) -> str:
    """The answer's text; calls of tools as the template writes them, for so the model answers."""
    if not row.calls:
        return row.answer
    return str(policy.tokenizer.decode(encoded.answer, skip_special_tokens=True)).strip()


def _predictions(
    rows: Sequence[Conversation],
    answers: Sequence[str | None],
    scores: Sequence[float],
    weights: Sequence[float | None] | None = None,
) -> tuple[Prediction, ...]:
    each = zip(rows, answers, scores, weights or repeat(None, len(rows)), strict=True)
    return tuple(
        Prediction(number, row.prompt_json(), row.answer, answer, score, weight)
        for number, (row, answer, score, weight) in enumerate(each)
    )
