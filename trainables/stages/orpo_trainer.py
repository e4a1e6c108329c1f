"""TRL's ORPO trainer with its means taken over an optimizer step; each override says why.

Checked with TRL 1.16.0 and transformers 5.24.0.
"""

from __future__ import annotations

from typing import Any

from trl.experimental.orpo import ORPOTrainer


class StepMeanORPOTrainer(ORPOTrainer):
    """TRL's trainer with both means of the loss over all tokens and all pairs of an optimizer step.

    TRL's means are over one worker's batch, so the loss would depend on how a step's rows are spread over batches and
    workers.
    """

    loss_is_scaled_for_ga = True  # transformers need not divide by the number of batches
    step_counts: Any = None  # (tokens, pairs) of the step; None for a batch outside of any step: its own
    batch_shares: Any = (1.0, 1.0)  # the current batch's share of the step's tokens and pairs

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: Any) -> None:
        """Called before a step's first batch: counts the step's predicted chosen tokens and its pairs."""
        counts: Any = sum(map(_tokens_and_pairs, batch_samples)).to(device)
        workers = self.args.world_size
        if workers > 1:
            counts = self.accelerator.reduce(counts, "sum")
        # Gradients and losses are averaged over the workers afterwards.
        self.step_counts = counts / workers

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> tuple[Any, ...]:
        """Scales the likelihood term, a mean over the batch's tokens, by the batch's share of the step's tokens."""
        *others, nll = super().concatenated_forward(model, batch)
        counts = _tokens_and_pairs(batch).to(nll.device)
        self.batch_shares = counts / (counts if self.step_counts is None else self.step_counts)
        return (*others, nll * self.batch_shares[0])

    def odds_ratio_loss(self, chosen: Any, rejected: Any) -> tuple[Any, ...]:
        """Scales the odds ratio term, a mean over the batch's pairs, by the batch's share of the step's pairs."""
        # TRL calls this after the forward pass of the same batch, which has set the shares.
        losses, *others = super().odds_ratio_loss(chosen, rejected)
        return (losses * self.batch_shares[1], *others)


def _tokens_and_pairs(batch: dict[str, Any]) -> Any:
    """A batch's chosen tokens that are predicted (all but each row's first), and its pairs: (2,)."""
    import torch

    mask = batch["chosen_attention_mask"]
    # Both stay on the device: a GPU isn't waited for.
    return torch.stack([mask[:, 1:].sum(), mask.new_full((), len(mask))])
