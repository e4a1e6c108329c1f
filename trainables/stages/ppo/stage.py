"""Proximal policy optimization: sample answers, reward them, and make them more or less likely."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.stages.base import TrialParts, same_names
from trainables.stages.forward_pass import Batch, Rollout, RowLength, WholeLogits
from trainables.stages.ppo.settings import PPOSettings

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class PPO(PPOSettings):
    """Clipped policy and value losses on sampled answers (Schulman et al., 2017, arXiv:1707.06347), with a penalty on
    the KL to the untrained policy (Ziegler et al., 2019, arXiv:1909.08593).

    A step samples an answer to each of its prompts, computes log-probabilities, values and rewards once, and makes
    ``epochs`` x ``mini_batches`` optimizer updates. One base is in memory: the value head is a linear layer on the
    policy's last hidden state, and the reference is the policy with its adapters off, or with a copy of the trained
    weights from before training. Dropout is off.

    Quality is the mean reward of greedy answers.
    """

    compile_obstacle: ClassVar[str | None] = (
        "answers are sampled with plain layers, and the first ratios with compiled ones would not be 1"
    )
    logged_metrics: ClassVar[Mapping[str, str]] = same_names(
        "reward",
        "kl",
        "kl_coefficient",
        "ratio",
        "clip_fraction",
        "policy_loss",
        "value_loss",
        "entropy",
        "answer_tokens",
    )

    def problems(self, trial: TrialParts, data: Data | None) -> Iterator[tuple[str, str]]:
        yield from super().problems(trial, data)
        if self.mini_batches > trial.train.batch_size:
            rows = trial.train.batch_size
            yield "mini_batches", f"{rows} rows can't be shared by {self.mini_batches} mini-batches"

    def worst_case(self) -> PPO:
        # One epoch: the others take the same memory, and time.
        return self.model_copy(update={"min_new_tokens": self.max_new_tokens, "epochs": 1})

    def forward_pass(self, rows: int, length: RowLength) -> Batch | None:
        """A mini-batch of answers of ``max_new_tokens`` tokens.

        Of the logits the backward pass needs the log-softmax in 32 bits, and a byte each for which were masked.
        """
        try:
            reward = self.reward_footprint()
        except MemoryNotPredictable:
            return None
        mini_batch = -(-rows // self.mini_batches)  # rounded up
        # `cast`: within autocast each logit is there in the products' type and in 32 bits, 2 + 4 bytes.
        logits = WholeLogits(kept=5, forward=8, backward=8, cast=6)
        return Batch(
            mini_batch,
            length.tokens,
            mini_batch * self.max_new_tokens,
            logits,
            Rollout(rows, self.max_new_tokens, reward),
        )

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        from trainables.stages.ppo.trainer import PPOTrainer

        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        reward = partial(self.answer_rewards, policy, cutoff=cutoff)
        return PPOTrainer(self, reward, policy, rows, tokens, train, arguments)
