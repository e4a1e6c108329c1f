"""Simple preference optimization: make chosen answers likelier per token than rejected ones, by a margin."""

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


class SimPO(PairStage):
    """-ln sigmoid(beta (mean log-probability of chosen - that of rejected) - gamma), means per token (Meng et al.,
    2024, arXiv:2405.14734, equation 6). ``label_smoothing`` is the share of pairs assumed mislabelled.
    The paper's ``beta`` is 2 to 10 and its ``gamma`` 0.3 to 1.6 (its table 8).

    There is no reference policy. Quality is pair accuracy by mean log-probability per token.
    """

    kind: Literal["simpo"] = "simpo"
    beta: float = Field(default=2.0, gt=0)
    gamma: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)

    learning_rate_factor: ClassVar[float] = 0.1
    logged_metrics: ClassVar[Mapping[str, str]] = {
        "train_reward_accuracy": "rewards/accuracies",
        "train_reward_margin": "rewards/margins",
    }

    def forward_pass(self, rows: int, length: RowLength) -> Batch:
        tokens = length.tokens  # each has its logits, labelled or not
        return Batch(2 * rows, tokens, 2 * rows * tokens, WholeLogits(forward=2))

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        from trainables.stages.reference_free_trainer import reference_free_trainer

        settings = CPOConfig(
            **arguments,
            max_length=cutoff,
            disable_dropout=False,  # the method decides about dropout
            loss_type="simpo",
            cpo_alpha=0.0,  # no likelihood term
            beta=self.beta,
            simpo_gamma=self.gamma,
            label_smoothing=self.label_smoothing,
        )
        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        return reference_free_trainer(CPOTrainer, policy, settings, tokens, train)
