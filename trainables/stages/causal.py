"""What stages that predict the next token share: TRL's SFT trainer over rows that are tokens already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import transformers

    from trainables.encode import Encoded
    from trainables.likelihood import Judged
    from trainables.policy import Policy


def causal_trainer(
    policy: Policy, rows: Sequence[Encoded], arguments: dict[str, Any]
) -> transformers.Trainer:
    """A trainer on the rows' labels, in their order; rows are cut to length before it sees them."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from trainables.training import keeping_trainable_dtype, small_loss_chunks

    head_adapted = hasattr(policy.causal.get_output_embeddings(), "lora_A")
    settings = SFTConfig(
        **arguments,
        max_length=None,
        # Logits only where there is a label; TRL can't do that where the head has an adapter.
        loss_type="nll" if head_adapted else "chunked_nll",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    columns = {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    with keeping_trainable_dtype(policy.model), small_loss_chunks(policy.device):
        return SFTTrainer(
            model=policy.model,
            args=settings,
            train_dataset=Dataset.from_dict(columns),
            processing_class=policy.tokenizer,
        )


def mean_loss(judged: Sequence[Judged]) -> float:
    """Nats per labelled token, over all rows."""
    return -sum(row.logprob for row in judged) / sum(row.tokens for row in judged)


def longest_of(lengths: Sequence[int], rows: Sequence[Any]) -> tuple[Any, int]:
    """The row of the greatest length, and that length."""
    index = max(range(len(rows)), key=lengths.__getitem__)
    return rows[index], lengths[index]
