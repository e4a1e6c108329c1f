"""The settings of group relative policy optimization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from trainables.config import limits
from trainables.stages.rewards.stage import RewardedStage

if TYPE_CHECKING:
    from trainables.data.loading import Data
    from trainables.stages.base import TrialParts


class GRPOSettings(RewardedStage):
    """Defaults are those of TRL's ``GRPOConfig``, except ``loss`` (dapo there), ``max_new_tokens`` (256 there), and the
    scaling of rewards with ``dr_grpo`` (by the group there, too).
    """

    kind: Literal["grpo"] = "grpo"
    num_generations: Annotated[int, limits.at_most(limits.BATCH)] = Field(
        default=8, ge=2
    )  # answers per prompt
    loss: Literal["grpo", "dr_grpo", "dapo", "bnpo", "gspo"] = "grpo"
    beta: float = Field(default=0.0, ge=0, allow_inf_nan=False)  # of the KL to the untrained policy
    epsilon: float = Field(default=0.2, gt=0)  # how far below 1 the ratio counts
    epsilon_high: float | None = Field(default=None, gt=0)  # how far above 1; null: as epsilon
    iterations: Annotated[int, limits.at_most(limits.EPOCHS)] = Field(
        default=1, ge=1
    )  # updates on the answers
    # By the deviation of a prompt's rewards, or of the batch's; auto: by the prompt's, with dr_grpo none.
    scale_rewards: Literal["auto", "group", "batch", "none"] = "auto"

    def problems(self, trial: TrialParts, data: Data | None) -> Iterator[tuple[str, str]]:
        yield from super().problems(trial, data)
        if self.min_new_tokens:
            yield (
                "min_new_tokens",
                "grpo can't forbid early ends: answers would be sampled from another distribution than the one whose "
                "probabilities are trained; leave it out",
            )

    @property
    def rows_are_independent(self) -> bool:
        """Not where a batch's tokens, or the deviation of its rewards, are the measure of each answer in it."""
        return self.loss != "bnpo" and self.scale_rewards != "batch"

    def without_effect(self) -> Iterator[tuple[str, str]]:
        yield from super().without_effect()
        if self.iterations == 1:
            why = "with one update on the answers (iterations: 1), the policy is the one that sampled them"
            yield "epsilon", why
            yield "epsilon_high", why

    @property
    def loss_settings(self) -> dict[str, Any]:
        """TRL's settings of the loss. Its GSPO is the loss ``grpo`` with a ratio for each sequence."""
        scale = self.scale_rewards
        if scale == "auto":
            scale = "none" if self.loss == "dr_grpo" else "group"
        return {
            "loss_type": "grpo" if self.loss == "gspo" else self.loss,
            "importance_sampling_level": "sequence" if self.loss == "gspo" else "token",
            "scale_rewards": scale,
            "epsilon": self.epsilon,
            "epsilon_high": self.epsilon_high,
        }
