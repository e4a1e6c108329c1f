"""Supervised fine-tuning: the loss is on the answers' tokens, by TRL's SFT trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from trainables.config.data import QUALITIES
from trainables.data.rows import Conversation
from trainables.stages.base import Metric, ScoredRow, Scores, TrainingStage
from trainables.stages.causal_lm import causal_trainer, mean_loss
from trainables.stages.forward_pass import Batch, RowLength
from trainables.tokenization.answer_text import decode_answers
from trainables.tokenization.encode import encode, training_examples

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.scoring.custom_scorer import Scorer
    from trainables.tokenization.encode import Encoded
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class SFT(TrainingStage):
    """Loss on the tokens of every answer; with ``train_on_prompt`` on the prompts, too; with ``mask_history`` on the
    last answer alone.

    Quality is what ``data.quality`` says, of greedy answers: exact match, ROUGE-L or chrF by row, or the user's own
    function; or the loss on the answers in nats per token. Where it says nothing, exact match where the data has one
    right answer to each prompt, else the loss. With ``predict_with_generate`` answers are generated whatever the
    quality, and compared with the references by BLEU, chrF and ROUGE; generating takes time. Where answers are labels
    (two or more, shared by five test rows each in the mean) that are judged by exact match, ``accuracy`` and
    ``macro_f1`` are recorded as of a classifier.

    ``neftune_noise_alpha``: in training, uniform noise of at most alpha / sqrt(tokens x hidden size) is added to the
    embeddings of each row of the batch, padding included (NEFTune, Jain et al., 2023, arXiv:2310.05914).
    """

    kind: Literal["sft"] = "sft"
    train_on_prompt: bool = False
    mask_history: bool = False
    predict_with_generate: bool = False
    neftune_noise_alpha: float | None = Field(default=None, gt=0)

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
        noise = {"neftune_noise_alpha": self.neftune_noise_alpha}
        return causal_trainer(policy, tokens, train, cutoff, {**arguments, **noise})

    def forward_pass(self, rows: int, length: RowLength) -> Batch:
        return Batch(rows, length.tokens, self.labelled(rows, length))

    def quality(self, data: Data) -> Metric:
        chosen = self._judged_by(data)
        if chosen == "loss":
            return Metric("loss", higher_is_better=False, unit="nats per token")
        if chosen == "exact_match":
            return Metric("exact_match", higher_is_better=True, unit="fraction")
        return Metric(QUALITIES.get(chosen) or chosen.partition(":")[2], higher_is_better=True, unit="")

    def check_scoring(self, data: Data) -> None:
        """Imports a function of the user's that answers are judged by. Raises ``ScorerError``."""
        self._scorer(data)

    def _scorer(self, data: Data) -> Scorer | None:
        from trainables.scoring.custom_scorer import Scorer

        if data.quality is None or data.quality.name in QUALITIES:
            return None
        return Scorer.of_spec(data.quality.name, data.quality.file, data.quality.sha256)

    @staticmethod
    def _judged_by(data: Data) -> str:
        """The measure, as ``data.quality`` names it."""
        if data.quality is not None:
            return data.quality.name
        return "exact_match" if data.exact else "loss"

    def objective_name(self) -> str:
        return "log-probability per token"  # minus the loss, in nats

    def validation_scores(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        from trainables.scoring.likelihood import log_likelihoods

        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        loss = mean_loss(log_likelihoods(policy, tokens, self.eval_batch))
        return {"objective": -loss, "validation_loss": loss}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        """Per row its score by the quality. Raises ``ScorerError`` for a function of the user's that fails."""
        from trainables.data.thinking import answer_matches
        from trainables.scoring.generation import generate_answers, preview_answers
        from trainables.scoring.label_scores import are_labels, macro_f1, written_label_scores
        from trainables.scoring.likelihood import log_likelihoods, mean_logprobs
        from trainables.scoring.text_metrics import answer_similarity

        chosen, metric, scorer = self._judged_by(data), self.quality(data), self._scorer(data)
        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        likelihoods = log_likelihoods(policy, tokens, self.eval_batch)
        metrics = {"loss": mean_loss(likelihoods)}
        # Each row's loss per token weighs by its tokens: the weighted mean of the rows is the loss.
        losses, sizes = (-mean_logprobs(likelihoods)).tolist(), [float(row.tokens) for row in likelihoods]
        if chosen == "loss" and not self.predict_with_generate:
            previews = preview_answers(policy, tokens, likelihoods)
            return Scores(_scored_rows(rows, previews, losses, sizes), metrics)
        answers = generate_answers(policy, tokens, likelihoods, self.eval_batch)
        references = [reference(policy, *each) for each in zip(rows, tokens, strict=True)]
        matches = answer_matches(answers, references)
        by_row: dict[str, Sequence[float]] = {"loss": losses, "exact_match": matches}
        metrics["exact_match"] = sum(matches) / len(matches)
        if chosen == "exact_match" and are_labels(references):
            by_label = written_label_scores(references, answers)
            metrics |= {"accuracy": metrics["exact_match"], "macro_f1": macro_f1(by_label)}
        if self.predict_with_generate or chosen in ("rouge_l", "chrf"):
            for measure in answer_similarity(answers, references)[0]:
                metrics[measure.name] = measure.value
                by_row[measure.name] = [float(score or 0.0) for score in measure.by_row or ()]
        if scorer is not None:
            prompts = [row.prompt for row in rows]
            scores = scorer.score_rows(range(len(rows)), prompts, references, answers)
            metrics[metric.name], by_row[metric.name] = sum(scores) / len(scores), scores
        weights = sizes if metric.name == "loss" else None
        exact = None if metric.name == "exact_match" else matches
        return Scores(_scored_rows(rows, answers, by_row[metric.name], weights, exact), metrics)

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
    exact: Sequence[float | None] | None = None,
) -> tuple[ScoredRow, ...]:
    weights, exact = (column or [None] * len(rows) for column in (weights, exact))
    each = zip(rows, answers, scores, weights, exact, strict=True)
    return tuple(
        ScoredRow(number, row.prompt_json(), row.answer, answer, score, weight, exact_match=match)
        for number, (row, answer, score, weight, match) in enumerate(each)
    )
