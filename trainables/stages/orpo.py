"""Odds ratio preference optimization: learn the chosen answer and find it likelier than the rejected one, at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from trainables.stages.forward_pass import Batch, WholeLogits
from trainables.stages.preference import PairStage, reference_free_trainer

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.training.policy import Policy


class ORPO(PairStage):
    """-ln p(prompt and chosen), per token, minus beta ln sigmoid(ln odds(chosen) - ln odds(rejected)), where
    odds = p / (1 - p) and p is an answer's mean probability per token, exp of its mean log-probability
    (Hong et al., 2024, arXiv:2403.07691, equations 3 to 7; ``beta`` is their lambda).

    There is no reference policy. Quality is pair accuracy by mean log-probability per token.
    """

    kind: Literal["orpo"] = "orpo"
    beta: float = Field(default=0.1, gt=0)

    def forward_pass(self, rows: int, tokens: int) -> Batch:
        return Batch(2 * rows, tokens, 2 * rows * tokens, WholeLogits(kept=6, forward=2))

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> transformers.Trainer:
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        settings = ORPOConfig(**arguments, max_length=cutoff, disable_dropout=False, beta=self.beta)
        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        return reference_free_trainer(_over_the_step(ORPOTrainer), policy, settings, tokens, train)


def _over_the_step(cls: Any) -> Any:
    """TRL's trainer with both means of the loss over all tokens and all pairs of a step: those of all its batches and
    of all workers, however many batches and workers there are. TRL's are over one worker's batch.
    """

    class OverTheStep(cls):
        loss_is_scaled_for_ga = True  # transformers need not divide by the number of batches
        step_counts: Any = None  # of a batch that is no part of a step: its own
        shares: Any = (1.0, 1.0)  # of the step's tokens and pairs, what the batch has

        def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: Any) -> None:
            """Counts what a step has before its first batch: (chosen tokens that are foretold, pairs)."""
            counts: Any = sum(map(_counts, batch_samples)).to(device)
            workers = self.args.world_size
            if workers > 1:
                counts = self.accelerator.reduce(counts, "sum")
            # Gradients and losses of the workers are averaged afterwards.
            self.step_counts = counts / workers

        def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> tuple[Any, ...]:
            *found, nll = super().concatenated_forward(model, batch)
            counts = _counts(batch).to(nll.device)
            self.shares = counts / (counts if self.step_counts is None else self.step_counts)
            return (*found, nll * self.shares[0])

        def odds_ratio_loss(self, chosen: Any, rejected: Any) -> tuple[Any, ...]:
            losses, *others = super().odds_ratio_loss(chosen, rejected)
            return (losses * self.shares[1], *others)

    return OverTheStep


def _counts(batch: dict[str, Any]) -> Any:
    mask = batch["chosen_attention_mask"]
    return mask.new_tensor([int(mask[:, 1:].sum()), len(mask)])
