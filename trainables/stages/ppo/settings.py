"""The settings of proximal policy optimization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator

from trainables.config import limits
from trainables.config.trained_model import TrainedModel
from trainables.stages.base import TrainingStage
from trainables.stages.ppo.reward_rules import RULES

_CHOICES = (
    f"give a rule's name ({', '.join(RULES)}), the folder of a finished reward trial, or {{from: reward}}"
)


class PPOSettings(TrainingStage):
    """Defaults are those of TRL's ``PPOConfig`` where no other source is given."""

    kind: Literal["ppo"] = "ppo"
    # A rule's name, or the model of a reward trial.
    # None only in a rehearsal, which copies the settings unvalidated; elsewhere the validator refuses it.
    reward: str | TrainedModel | None = Field(default=None, validate_default=True)
    # Per answer; a prompt keeps the end that leaves room for them in the cutoff.
    max_new_tokens: Annotated[int, limits.at_most(limits.TOKENS)] = Field(default=32, ge=1)
    # No answer ends before; log-probabilities are computed under that rule, too.
    min_new_tokens: int = Field(default=0, ge=0)
    temperature: float = Field(default=1.0, gt=0)  # of sampling, and of the policy that is trained
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

    @field_validator("reward")
    @classmethod
    def _reward_is_known(cls, reward: str | TrainedModel | None) -> str | TrainedModel | None:
        if reward is None:
            raise ValueError(f"ppo needs a reward; {_CHOICES}")
        if isinstance(reward, str) and reward not in RULES:
            raise ValueError(f"there is no rule and no folder {reward!r}; {_CHOICES}")
        return reward

    def without_effect(self) -> Iterator[tuple[str, str]]:
        if self.kl_target is None:
            yield "kl_horizon", "the coefficient adapts only towards a kl_target"
            if not self.kl_coefficient:
                yield "kl_estimator", "kl_coefficient is 0"
        if not self.value_coefficient:
            yield "value_clip_range", "value_coefficient is 0"
