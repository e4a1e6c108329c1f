"""Reward modelling: one number for each answer, higher for chosen than for rejected ones, by TRL's reward trainer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from trainables.stages.base import Gives
from trainables.stages.forward_pass import Batch, RowLength
from trainables.stages.preference import PairStage, draw_pairs

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.tokenization.encode import Encoded
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class Reward(PairStage):
    """-ln sigmoid(r(chosen) - r(rejected)) (Bradley & Terry, 1952; Ouyang et al., 2022, arXiv:2203.02155, equation 1),
    plus ``center_rewards_coefficient`` (r(chosen) + r(rejected))^2, which keeps rewards around 0 (Eisenstein et al.,
    2023, arXiv:2312.09244, equation 2).

    r is the output of a new head at the answer's last token. Quality is pair accuracy by reward.
    """

    kind: Literal["reward"] = "reward"
    center_rewards_coefficient: float = Field(default=0.0, ge=0)

    gives: ClassVar[Gives] = "rewards"
    logged_metrics: ClassVar[Mapping[str, str]] = {
        "train_reward_accuracy": "accuracy",
        "train_reward_margin": "margin",
    }

    @property
    def head_settings(self) -> dict[str, Any]:
        return {"num_labels": 1}  # one output: the reward

    def forward_pass(self, rows: int, length: RowLength) -> Batch:
        return Batch(2 * rows, length.tokens, labels=0, outputs=1)

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        from trl import RewardConfig, RewardTrainer

        from trainables.training.trainer_setup import make_trainer, rows_on_disk

        settings = RewardConfig(
            **arguments,
            max_length=None,  # rows are cut to length already; TRL would drop the longer ones
            disable_dropout=False,  # the method decides about dropout
            center_rewards_coefficient=self.center_rewards_coefficient or None,
        )
        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        pairs, places, lengths = draw_pairs(tokens, train, settings, _columns)
        return make_trainer(RewardTrainer, policy, settings, rows_on_disk(pairs), places, lengths)

    def answer_scores(self, policy: Policy, answers: Sequence[Encoded]) -> np.ndarray:
        return rewards(policy, answers, self.eval_batch)


def _columns(chosen: Encoded, rejected: Encoded) -> dict[str, list[int]]:
    return {"chosen_ids": chosen.input_ids, "rejected_ids": rejected.input_ids}


def rewards(policy: Policy, rows: Sequence[Encoded], batch: int) -> np.ndarray:
    """Each answer's reward, at its last token: (rows,)."""
    from trainables.scoring.likelihood import map_in_batches

    return np.array(map_in_batches(policy, rows, batch, _batch_rewards))


def _batch_rewards(policy: Policy, rows: Sequence[Encoded]) -> Iterator[float]:
    from trainables.scoring.likelihood import last_hidden_states

    # In 32 bits: rewards rounded to 16 bits would tie where answers differ little.
    last = last_hidden_states(policy.causal.base_model, rows, policy)
    yield from (last @ policy.causal.score.weight.float()[0]).tolist()
