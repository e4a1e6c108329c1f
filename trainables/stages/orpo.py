"""Odds ratio preference optimization: learn chosen answers and rank them above rejected ones, in one loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from trainables.stages.forward_pass import Batch, RowLength, WholeLogits
from trainables.stages.preference import PairStage

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class ORPO(PairStage):
    """-ln p(prompt and chosen), per token, minus beta ln sigmoid(ln odds(chosen) - ln odds(rejected)), where
    odds = p / (1 - p) and p is an answer's mean probability per token, exp of its mean log-probability
    (Hong et al., 2024, arXiv:2403.07691, equations 3 to 7; ``beta`` is their lambda).

    There is no reference policy. Quality is pair accuracy by mean log-probability per token.
    """

    kind: Literal["orpo"] = "orpo"
    # The paper trains models of width 4,096 with 5e-6 to 8e-6, where supervised fine-tuning takes 2e-5 to 3e-5.
    learning_rate_factor: ClassVar[float] = 0.2
    logged_metrics: ClassVar[Mapping[str, str]] = {
        "train_reward_accuracy": "rewards/accuracies",
        "log_odds_ratio": "log_odds_ratio",
    }
    beta: float = Field(default=0.1, gt=0)

    def forward_pass(self, rows: int, length: RowLength) -> Batch:
        tokens = length.tokens  # each has its logits, labelled or not
        return Batch(2 * rows, tokens, 2 * rows * tokens, WholeLogits(kept=6, forward=2))

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        from trl.experimental.orpo import ORPOConfig

        from trainables.stages.orpo_trainer import StepMeanORPOTrainer
        from trainables.stages.reference_free_trainer import reference_free_trainer

        settings = ORPOConfig(**arguments, max_length=cutoff, disable_dropout=False, beta=self.beta)
        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        return reference_free_trainer(StepMeanORPOTrainer, policy, settings, tokens, train)
