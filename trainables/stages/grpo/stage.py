"""Group relative policy optimization: each prompt's sampled answers are compared with one another by their rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.stages.forward_pass import Batch, Rollout, RowLength
from trainables.stages.grpo.settings import GRPOSettings
from trainables.stages.rewards.stage import RewardedStage

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class GRPO(GRPOSettings):
    """The advantage A of an answer is its reward less the mean reward of all ``num_generations`` answers to its prompt,
    divided by their standard deviation where ``scale_rewards`` says so. No value is learned (Shao et al., 2024,
    arXiv:2402.03300). With r the probability ratio to the policy that sampled the answer, a token's loss is

        -min(r A, clip(r, 1 - epsilon, 1 + epsilon_high) A) + beta KL,     KL = ref/pi - ln ref/pi - 1

    ``loss`` says how tokens are averaged:

    - ``grpo``: over each answer, then over answers;
    - ``dr_grpo``: all tokens by max_new_tokens, so that long answers don't count less; rewards are not scaled (Liu et
      al., 2025, arXiv:2503.20783);
    - ``dapo``: over all tokens of the step (Yu et al., 2025, arXiv:2503.14476, which has epsilon_high 0.28);
    - ``bnpo``: over all tokens of each batch;
    - ``gspo``: as grpo, with one ratio an answer, the geometric mean of its tokens' (Zheng et al., 2025,
      arXiv:2507.18071, which has epsilon 0.0003 and epsilon_high 0.0004).

    A step samples the answers to its prompts and makes ``iterations`` optimizer updates. With one, the ratio is 1. The
    reference is the policy with its adapters off, or with a copy of the trained weights from before training, which is
    kept only where ``beta`` is above 0. Dropout is off.

    Quality is the mean reward of greedy answers.
    """

    compile_obstacle: ClassVar[str | None] = (
        "answers are sampled with plain layers, and the first ratios with compiled ones would not be 1"
    )
    halved_for_memory: ClassVar[Mapping[str, int]] = {
        "num_generations": 2,
        **RewardedStage.halved_for_memory,
    }
    logged_metrics: ClassVar[Mapping[str, str]] = {
        "reward": "reward",
        "reward_deviation": "reward_std",
        "equal_rewards": "frac_reward_zero_std",
        "kl_per_token": "kl",  # the mean over tokens of the loss's KL; that of records is per answer
        "clip_fraction": "clip_ratio/region_mean",
        "entropy": "entropy",
        "answer_tokens": "answer_tokens",
    }

    def worst_case(self) -> GRPO:
        # One update: the others take the same memory, and time.
        return self.model_copy(update={"min_new_tokens": self.max_new_tokens, "iterations": 1})

    def forward_pass(self, rows: int, length: RowLength) -> Batch | None:
        """The answers to a batch's prompts, of ``max_new_tokens`` tokens each; logits are computed tile by tile."""
        try:
            reward = self.reward_footprint()
        except MemoryNotPredictable:
            return None
        answers = rows * self.num_generations
        return Batch(
            answers,
            length.tokens,
            answers * self.max_new_tokens,
            rollout=Rollout(
                answers, self.max_new_tokens, reward, learns_values=False, has_reference=self.beta > 0
            ),
        )

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        from trainables.stages.grpo.trainer import grpo_trainer

        return grpo_trainer(self, policy, rows, train, cutoff, arguments)
