"""Kahneman-Tversky optimization: good answers more likely, bad ones less, not far from the untrained policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.auc import auc
from trainables.data.rows import Labelled
from trainables.stages.base import Metric, Prediction, Scores, TrainingStage, TrialParts
from trainables.stages.forward_pass import Batch, WholeLogits
from trainables.stages.preference import (
    answer_logprobs,
    answered,
    encode_answer,
    reference_trainer,
    reference_unshared,
)
from trainables.tokenization import batching

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.tokenization.encode import Encoded
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy


class KTO(TrainingStage):
    """The loss of Ethayarajh et al., 2024 (arXiv:2402.01306, equation 8), the KL term estimated from answers that
    are paired with their neighbour's prompt; so rows are trained on in their order, two or more at a time.

    Quality is the area under the ROC curve of an answer's mean log-probability per token against its label: the
    share of (good, bad) pairs that the policy orders rightly, ties half.
    """

    kind: Literal["kto"] = "kto"
    beta: float = Field(default=0.1, gt=0)
    desirable_weight: float = Field(default=1.0, gt=0)
    undesirable_weight: float = Field(default=1.0, gt=0)

    needs: ClassVar[type] = Labelled
    least_batch: ClassVar[int] = 2
    learning_rate_share: ClassVar[float] = 0.1

    def problems(self, trial: TrialParts, data: Data | None) -> Iterator[tuple[str, str]]:
        parts = {"training": data.train, "validation": data.validation, "test": data.test} if data else {}
        for part, rows in parts.items():
            only = _only_label(rows)
            if only is not None:
                lacking = "bad" if only else "good"
                yield (
                    "kind",
                    f"every {part} row is labelled {str(only).lower()}, and kto tells good answers from bad ones; "
                    f"add {lacking} answers, or hold out more rows",
                )

    def unshared(self, trial: TrialParts) -> str | None:
        return reference_unshared(self.kind, trial.method)

    def forward_pass(self, rows: int, tokens: int) -> Batch:
        return Batch(rows, tokens, rows * tokens, WholeLogits(reference=4, entropy=True))

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> transformers.Trainer:
        from trl import KTOConfig, KTOTrainer

        assert policy.method is not None
        settings = KTOConfig(
            **arguments,
            max_length=cutoff,  # a neighbour's answer after this prompt may be longer than either row
            disable_dropout=False,
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
            precompute_ref_log_probs=not policy.method.reference_stays,
            train_sampling_strategy="sequential",
        )
        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        count = train.rows_seen(settings.max_steps, len(tokens), settings.world_size)
        order = batching.order(tokens.lengths, count, **train.batching())
        columns = _columns(tokens, rows, order, settings.per_device_train_batch_size * settings.world_size)
        everything = np.arange(len(order))
        drawn = tokens.lengths[order]
        return reference_trainer(
            KTOTrainer, policy, settings, columns, everything, drawn, ("ref_logps", "ref_KL_logps")
        )

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        return [encode_answer(tokenizer, row, row.completion, cutoff)]

    def quality(self, data: Data) -> Metric:
        return Metric("auc", higher_is_better=True, unit="")  # of pairs: no share of rows

    def objective_name(self) -> str:
        return "log-likelihood of good above bad"  # in nats per pair of a good and a bad answer

    def objective(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        good, bad = self._good_and_bad(policy, rows, cutoff)
        value = -np.logaddexp(0, bad[None, :] - good[:, None]).mean() if len(good) and len(bad) else 0.0
        return {"objective": float(value), "validation_auc": auc(good, bad)}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        from trainables.scoring.likelihood import judge, mean_logprobs

        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        judged = judge(policy, tokens, self.eval_batch)
        found = mean_logprobs(judged)
        labels = np.array([row.label for row in rows])
        metrics = {"auc": auc(found[labels], found[~labels]), "good_rows": float(labels.mean())}
        places = [place for place, row in enumerate(rows) if row.label]
        good, found_good = [tokens[place] for place in places], [judged[place] for place in places]
        right = [rows[place].completion for place in places]
        answers, matches = answered(policy, data, good, found_good, right, self.eval_batch)
        said = dict(zip(places, answers, strict=True))
        predictions = tuple(
            Prediction(
                number,
                row.prompt_json(),
                row.completion,
                said.get(number),
                float(logprob),
                **{"good_worth" if row.label else "bad_worth": float(logprob)},
            )
            for number, (row, logprob) in enumerate(zip(rows, found, strict=True))
        )
        return Scores(predictions, metrics | matches)

    def _good_and_bad(
        self, policy: Policy, rows: Sequence[Any], cutoff: int
    ) -> tuple[np.ndarray, np.ndarray]:
        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        found = answer_logprobs(policy, tokens, self.eval_batch)
        labels = np.array([row.label for row in rows])
        return found[labels], found[~labels]


def _only_label(rows: Sequence[Any]) -> bool | None:
    """The label of all rows; ``None`` where there are both, which shows after the first few."""
    labels = (row.label for row in rows)
    first = next(labels)
    return first if all(label == first for label in labels) else None


def _columns(tokens: Tokens, rows: Sequence[Any], order: np.ndarray, batch: int) -> Iterator[dict[str, Any]]:
    """TRL's columns; within each batch, all workers' together, an answer's neighbour, the one before it, is for the KL
    term.
    """
    for start in range(0, len(order), batch):
        places = [int(place) for place in order[start : start + batch]]
        here = [tokens[place] for place in places]
        for number, (place, example) in enumerate(zip(places, here, strict=True)):
            yield {
                "prompt_ids": example.prompt,
                "completion_ids": example.answer,
                "KL_completion_ids": here[number - 1].answer,
                "label": rows[place].label,
            }
