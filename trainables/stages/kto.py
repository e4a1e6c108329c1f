"""Kahneman-Tversky optimization: make good answers likelier and bad ones less likely, near the untrained policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.auc import auc
from trainables.data.rows import Labelled
from trainables.stages.base import Metric, ScoredRow, Scores, TrainingStage, TrialParts
from trainables.stages.forward_pass import Batch, RowLength
from trainables.stages.preference import (
    REFERENCE_IS_PLAIN,
    Margins,
    answer_logprobs,
    answer_texts,
    matched_answers,
    reference_sharding_obstacle,
)
from trainables.tokenization import batching
from trainables.tokenization.encode import encode_answers, learns_something

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.scoring.likelihood import LogLikelihood
    from trainables.tokenization.encode import Encoded
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class KTO(TrainingStage):
    """The loss of Ethayarajh et al., 2024 (arXiv:2402.01306, equation 8). Its KL term is estimated from each prompt
    with the answer of a neighbouring row, so rows are trained on in a fixed order, two or more at a time.

    Quality is the area under the ROC curve of an answer's mean log-probability per token against its label: the
    share of (good, bad) pairs that the policy ranks rightly, ties half. Beside it, ``pair_accuracy`` compares answers
    to one prompt alone, and ``implicit_reward_accuracy`` and ``implicit_reward_auc`` by how much likelier training made
    them (Rafailov et al., 2023, arXiv:2305.18290, equation 5 without beta and Z), where the policy before training is
    known.
    """

    kind: Literal["kto"] = "kto"
    beta: float = Field(default=0.1, gt=0)
    desirable_weight: float = Field(default=1.0, gt=0)
    undesirable_weight: float = Field(default=1.0, gt=0)

    row_type: ClassVar[type] = Labelled
    min_worker_rows: ClassVar[int] = 2
    compile_obstacle: ClassVar[str | None] = REFERENCE_IS_PLAIN
    learning_rate_factor: ClassVar[float] = 0.1
    logged_metrics: ClassVar[Mapping[str, str]] = {
        "train_reward_margin": "rewards/margins",
        "kto_kl": "kl",
    }

    def problems(self, trial: TrialParts, data: Data | None) -> Iterator[tuple[str, str]]:
        parts = {"training": data.train, "validation": data.validation, "test": data.test} if data else {}
        for part, rows in parts.items():
            label = _only_label(rows)
            if label is not None:
                what = f"every {part} row is labelled {str(label).lower()}, {_missing(label)}"
                yield "kind", f"{what}, or hold out more rows"

    def set_problem(self, rows: Sequence[Any]) -> str | None:
        label = _only_label(rows)
        return None if label is None else f"every row is labelled {str(label).lower()}, {_missing(label)}"

    def sharding_obstacle(self, trial: TrialParts) -> str | None:
        return reference_sharding_obstacle(self.kind, trial.method)

    def forward_pass(self, rows: int, length: RowLength) -> Batch:
        return Batch(rows, length.tokens, self.labelled(rows, length))

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        from trl import KTOConfig

        from trainables.models.architecture.router_loss import router_coefficient
        from trainables.stages.reference_trainer import LabelledCollator, TokenizedKTOTrainer
        from trainables.training.trainer_setup import make_trainer, rows_on_disk

        assert policy.method is not None
        settings = KTOConfig(
            **arguments,
            max_length=cutoff,  # this prompt with a neighbour's answer may be longer than either row
            disable_dropout=False,  # the method decides about dropout
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
            precompute_ref_log_probs=not policy.method.reference_stays,
            train_sampling_strategy="sequential",
            router_aux_loss_coef=router_coefficient(policy.causal.config, train.router_aux_loss),
        )
        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        count = train.rows_seen(settings.max_steps, len(tokens), settings.world_size)
        order = batching.example_order(tokens.lengths, count, **train.batching())
        # Neighbours within the batch of all workers: the pairs don't depend on how many workers share it.
        drawn = _columns(tokens, rows, order, settings.per_device_train_batch_size * settings.world_size)
        # The data set has the rows in the order they are drawn, as each holds its neighbour's answer.
        places, lengths = np.arange(len(order)), tokens.lengths[order]
        collator = LabelledCollator(policy.tokenizer.pad_token_id, settings.max_length)
        dataset = rows_on_disk(drawn)
        return make_trainer(
            TokenizedKTOTrainer, policy, settings, dataset, places, lengths, data_collator=collator
        )

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        example = self.encode_scored(tokenizer, row, cutoff)[0]
        return [example] if learns_something(example, tokenizer) else []

    def encode_scored(
        self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int
    ) -> list[Encoded]:
        """The answer as in training, also one of which nothing but its end is left."""
        return [encode_answers(row.answered(), tokenizer, cutoff)]

    def quality(self, data: Data) -> Metric:
        return Metric("auc", higher_is_better=True, unit="")  # a share of pairs, not of rows

    def objective_name(self) -> str:
        return "log-likelihood of good above bad"  # in nats per pair of a good and a bad answer

    def validation_scores(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        good, bad = self._good_and_bad(policy, rows, cutoff)
        # ln sigmoid(good - bad) of each good answer with each bad one: (good rows, bad rows).
        value = -np.logaddexp(0, bad[None, :] - good[:, None]).mean() if len(good) and len(bad) else 0.0
        return {"objective": float(value), "validation_auc": auc(good, bad)}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        """Per row its mean log-probability per token.

        ``pair_accuracy``: the share of pairs of a good and a bad answer to one prompt in the right order, each good
        answer counting once; of embedded data, of its pairs for the same prompts. Absent where no prompt has both.
        """
        from trainables.scoring.likelihood import log_likelihoods, mean_logprobs

        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        likelihoods = log_likelihoods(policy, tokens, self.eval_batch)
        logprobs = mean_logprobs(likelihoods)
        labels = np.array([row.label for row in rows])
        metrics = {"auc": auc(logprobs[labels], logprobs[~labels]), "good_rows": float(labels.mean())}
        pairs = self._pair_likelihoods(policy, data, cutoff) if rows is data.test else []
        right = _right_by_prompt(rows, logprobs, data.pairs if pairs else (), mean_logprobs(pairs))
        metrics |= _mean("pair_accuracy", right)
        if policy.logprobs_before is not None and rows is data.test:
            # The implicit reward: how much likelier training made an answer, in nats.
            gained = np.array([each.logprob for each in (*likelihoods, *pairs)]) - np.array(
                policy.logprobs_before
            )
            of_rows, of_pairs = gained[: len(rows)], gained[len(rows) :]
            ordered = _right_by_prompt(rows, of_rows, data.pairs if pairs else (), of_pairs)
            metrics |= _mean("implicit_reward_accuracy", ordered)
            metrics["implicit_reward_auc"] = auc(of_rows[labels], of_rows[~labels])
        references = answer_texts(policy, [row.answered() for row in rows], tokens)
        # Answers are generated to the prompts of good rows alone: only there is the row's own answer a reference.
        good = [number for number, row in enumerate(rows) if row.label]
        answers, matches = matched_answers(
            policy,
            data,
            [tokens[number] for number in good],
            [likelihoods[number] for number in good],
            [references[number] for number in good],
            self.eval_batch,
        )
        answer_by_row = dict(zip(good, answers, strict=True))
        scored = tuple(
            ScoredRow(
                number,
                row.prompt_json(),
                references[number],
                answer_by_row.get(number),
                float(logprob),
                good_worth=float(logprob) if row.label else None,
                bad_worth=None if row.label else float(logprob),
                pair_accuracy=ordered_rightly,
            )
            for number, (row, logprob, ordered_rightly) in enumerate(zip(rows, logprobs, right, strict=True))
        )
        return Scores(scored, metrics | matches)

    def scored_logprobs(self, policy: Policy, data: Data, cutoff: int) -> list[float]:
        """Those of the test rows' answers, then of the chosen and the rejected answer of each pair by turns."""
        from trainables.scoring.likelihood import log_likelihoods

        tokens = self.tokens(policy.tokenizer, data.test, cutoff, scoring=True)
        likelihoods = log_likelihoods(policy, tokens, self.eval_batch)
        return [each.logprob for each in (*likelihoods, *self._pair_likelihoods(policy, data, cutoff))]

    def _pair_likelihoods(self, policy: Policy, data: Data, cutoff: int) -> list[LogLikelihood]:
        """Those of the chosen and the rejected answer of each of the data's pairs by turns."""
        from trainables.scoring.likelihood import log_likelihoods
        from trainables.stages.dpo import DPO

        if not data.pairs:
            return []
        tokens = DPO().tokens(policy.tokenizer, data.pairs, cutoff, scoring=True)
        return log_likelihoods(policy, tokens, self.eval_batch)

    def _good_and_bad(
        self, policy: Policy, rows: Sequence[Any], cutoff: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mean log-probabilities of good answers (good rows,) and of bad ones (bad rows,)."""
        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        logprobs = answer_logprobs(policy, tokens, self.eval_batch)
        labels = np.array([row.label for row in rows])
        return logprobs[labels], logprobs[~labels]


def _right_by_prompt(
    rows: Sequence[Any], worths: np.ndarray, pairs: Sequence[Any], pair_worths: np.ndarray
) -> list[float | None]:
    """For each row whether the answers to its prompt are in the right order, 0.5 for a tie; ``None`` where unknown.

    ``worths`` (rows,) are of the rows' answers. By ``pairs``, of which ``pair_worths`` (2 x pairs,) has the chosen and
    the rejected answer by turns; without these, for each good row the share of bad answers to the same prompt that it
    is above.
    """
    if pairs:
        right = Margins(pair_worths[0::2], pair_worths[1::2]).right
        by_prompt = {pair.prompt_json(): float(value) for pair, value in zip(pairs, right, strict=True)}
        return [by_prompt.get(row.prompt_json()) for row in rows]
    bad: dict[str, list[float]] = {}
    for row, worth in zip(rows, worths, strict=True):
        if not row.label:
            bad.setdefault(row.prompt_json(), []).append(float(worth))
    found: list[float | None] = []
    for row, worth in zip(rows, worths, strict=True):
        others = np.array(bad.get(row.prompt_json(), []) if row.label else [])
        found.append(float(Margins(np.full(len(others), worth), others).accuracy) if len(others) else None)
    return found


def _mean(name: str, scores: Sequence[float | None]) -> dict[str, float]:
    """The mean of the scores that there are, by name; empty without any."""
    known = [score for score in scores if score is not None]
    return {name: sum(known) / len(known)} if known else {}


def _only_label(rows: Sequence[Any]) -> bool | None:
    """The label that all rows have; ``None`` where they have both, which the first few rows usually show, or none."""
    labels = (row.label for row in rows)
    first = next(labels, None)
    return first if all(label == first for label in labels) else None


def _missing(label: bool) -> str:
    return f"and kto needs good and bad answers; add {'bad' if label else 'good'} answers"


def _columns(tokens: Tokens, rows: Sequence[Any], order: np.ndarray, batch: int) -> Iterator[dict[str, Any]]:
    """TRL's columns of each drawn row. For the KL term a row gets the answer of the row before it in its batch, the
    first one that of the last; ``batch`` is the number of rows over all workers.
    """
    from trainables.stages.reference_trainer import answer_columns

    for start in range(0, len(order), batch):
        places = [int(place) for place in order[start : start + batch]]
        examples = [tokens[place] for place in places]
        for number, (place, example) in enumerate(zip(places, examples, strict=True)):
            # The number -1, for the first row, is the last row of the batch.
            yield answer_columns(example, examples[number - 1], rows[place].label)
