"""The settings of proximal policy optimization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from trainables.config import limits
from trainables.stages.rewards.stage import RewardedStage


class PPOSettings(RewardedStage):
    """Defaults are those of TRL's ``PPOConfig`` where no other source is given."""

    kind: Literal["ppo"] = "ppo"
    kl_coefficient: float = Field(default=0.05, ge=0)  # reward per nat
    # Nats per answer; with it the coefficient adapts (Ziegler et al., 2019).
    kl_target: float | None = Field(default=None, gt=0)
    kl_horizon: int = Field(default=10_000, ge=1)  # answers over which it adapts (Ziegler's code)
    kl_estimator: Literal["k1", "k3"] = "k1"  # Schulman, 2020, http://joschu.net/blog/kl-approx.html
    clip_range: float = Field(default=0.2, gt=0)  # of the probability ratio around 1 (Schulman et al., 2017)
    # Of a value around the value before the updates; null: not clipped.
    value_clip_range: float | None = Field(default=0.2, gt=0)
    value_coefficient: float = Field(default=0.1, ge=0)  # of the value loss in the loss
    gamma: float = Field(default=1.0, ge=0, le=1)  # discount per token
    lam: float = Field(default=0.95, ge=0, le=1)  # of generalized advantages
    # Over the answers of a step.
    epochs: Annotated[int, limits.at_most(limits.EPOCHS)] = Field(default=4, ge=1)
    mini_batches: Annotated[int, limits.at_most(limits.BATCH)] = Field(default=1, ge=1)  # updates per epoch
    normalize_scores: bool = False  # to mean 0 and variance 1 over the answers of a step
    whiten_rewards: bool = False  # scales the tokens' rewards to variance 1
    missing_eos_penalty: float = Field(default=0.0, ge=0)  # subtracted where an answer doesn't end by itself

    def without_effect(self) -> Iterator[tuple[str, str]]:
        yield from super().without_effect()
        if self.kl_target is None:
            yield "kl_horizon", "the coefficient adapts only towards a kl_target"
            if not self.kl_coefficient:
                yield "kl_estimator", "kl_coefficient is 0"
        if not self.value_coefficient:
            yield "value_clip_range", "value_coefficient is 0"
