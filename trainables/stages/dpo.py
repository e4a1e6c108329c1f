"""Direct preference optimization: rank chosen answers above rejected ones, and stay near the untrained policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from trainables.stages.forward_pass import Batch, RowLength
from trainables.stages.preference import (
    REFERENCE_IS_PLAIN,
    PairStage,
    draw_pairs,
    reference_sharding_obstacle,
)

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.stages.base import TrialParts
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class DPO(PairStage):
    """With d = ln pi/ref (chosen) - ln pi/ref (rejected), ``loss`` is one of

    - ``sigmoid``: -ln sigmoid(beta d) (Rafailov et al., 2023, arXiv:2305.18290, equation 7); with ``label_smoothing``
      e, (1 - e) of that and e of -ln sigmoid(-beta d): a share e of pairs is assumed mislabelled (conservative DPO,
      Mitchell, 2023);
    - ``robust``: the same made unbiased, ((1 - e) a - e b) / (1 - 2 e) of these two (Chowdhury et al., 2024,
      arXiv:2403.00409);
    - ``hinge``: max(0, 1 - beta d) (SLiC, Zhao et al., 2023, arXiv:2305.10425);
    - ``ipo``: (d - 1 / (2 beta))^2 with d per token (Azar et al., 2023, arXiv:2310.12036, equation 17).

    The reference is the policy with its adapters off or, where the model itself trains, log-probabilities computed
    before the first step; no second copy of the model is held. Quality is pair accuracy by mean log-probability per
    token; ``implicit_reward_accuracy`` is that by the implicit reward ln pi/ref (equation 5 without beta and Z, which
    all answers to a prompt share), with the policy before training as ref.
    """

    kind: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0)
    loss: Literal["sigmoid", "robust", "hinge", "ipo"] = "sigmoid"
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)

    compile_obstacle: ClassVar[str | None] = REFERENCE_IS_PLAIN
    learning_rate_factor: ClassVar[float] = 0.1
    logged_metrics: ClassVar[Mapping[str, str]] = {
        "train_reward_accuracy": "rewards/accuracies",
        "train_reward_margin": "rewards/margins",
    }

    @model_validator(mode="after")
    def _label_smoothing_fits_the_loss(self) -> DPO:
        if self.label_smoothing and self.loss in ("hinge", "ipo"):
            raise ValueError(
                f"loss: {self.loss} has no label_smoothing; leave it out, or use sigmoid or robust"
            )
        return self

    def sharding_obstacle(self, trial: TrialParts) -> str | None:
        return reference_sharding_obstacle(self.kind, trial.method)

    def forward_pass(self, rows: int, length: RowLength) -> Batch:
        return Batch(2 * rows, length.tokens, self.labelled(rows, length))  # a pair is two sequences

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        from trl import DPOConfig

        from trainables.models.architecture.router_loss import router_coefficient
        from trainables.stages.reference_trainer import PairCollator, TokenizedDPOTrainer, pair_columns
        from trainables.training.trainer_setup import make_trainer, rows_on_disk

        assert policy.method is not None
        settings = DPOConfig(
            **arguments,
            max_length=None,  # rows are cut to length already
            disable_dropout=False,  # the method decides about dropout
            beta=self.beta,
            label_smoothing=self.label_smoothing,
            **self._loss_terms(),
            router_aux_loss_coef=router_coefficient(policy.causal.config, train.router_aux_loss),
            precompute_ref_log_probs=not policy.method.reference_stays,
        )
        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        pairs, places, lengths = draw_pairs(tokens, train, settings, pair_columns)
        collator, dataset = PairCollator(policy.tokenizer.pad_token_id), rows_on_disk(pairs)
        return make_trainer(
            TokenizedDPOTrainer, policy, settings, dataset, places, lengths, data_collator=collator
        )

    def scored_logprobs(self, policy: Policy, data: Data, cutoff: int) -> list[float]:
        """Those of the chosen and the rejected answer of each test row by turns."""
        from trainables.scoring.likelihood import log_likelihoods

        answers = self.tokens(policy.tokenizer, data.test, cutoff, scoring=True)
        return [each.logprob for each in log_likelihoods(policy, answers, self.eval_batch)]

    def _loss_terms(self) -> dict[str, Any]:
        """TRL's losses and their weights. Its ``sigmoid`` is a = -ln sigmoid(beta d) and takes no smoothing, its
        ``robust`` is ((1 - e) a - e b) / (1 - 2 e); so (1 - e) a + e b = 2 (1 - e) sigmoid - (1 - 2 e) robust.
        """
        smoothing = self.label_smoothing
        if self.loss != "sigmoid" or not smoothing:
            return {"loss_type": [self.loss]}
        # The second weight is below 0: TRL adds the terms up, and the docstring's formula subtracts `robust`.
        return {"loss_type": ["sigmoid", "robust"], "loss_weights": [2 * (1 - smoothing), 2 * smoothing - 1]}
