"""What stages that predict the next token share: TRL's SFT trainer over rows that are tokens already.

Checked with TRL 1.16.0 and transformers 5.24.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trainables.tokenization import batching, token_stream
from trainables.tokenization.encode import IGNORED, has_start_token

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.scoring.likelihood import LogLikelihood
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


def causal_trainer(
    policy: Policy, tokens: Tokens, train: TrainConfig, cutoff: int, arguments: dict[str, Any]
) -> StageTrainer:
    """A trainer on the examples' labels; examples are at most ``cutoff`` tokens long.

    Raises ``ValueError`` where rows are to be packed and the model's attention can't keep them apart.
    """
    from trl import SFTConfig

    from trainables.models.architecture.flash_attention import is_flash
    from trainables.models.architecture.router_loss import router_coefficient
    from trainables.stages.token_loss_trainer import TokenLossTrainer
    from trainables.training.trainer_setup import make_trainer

    settings = SFTConfig(
        **arguments,
        max_length=None,
        loss_type="nll",
        router_aux_loss_coef=router_coefficient(policy.causal.config, train.router_aux_loss),
        dataset_kwargs={"skip_prepare_dataset": True},  # rows are tokens
    )
    separable = policy.behaviour.rows_can_share
    with_start = has_start_token(policy.tokenizer)
    streams = train.packing == "stream"
    examples = token_stream.block_count(tokens, cutoff, with_start) if streams else len(tokens)
    count = train.rows_seen(settings.max_steps, examples, settings.world_size)
    if streams:
        blocks = token_stream.blocks(tokens, cutoff, count, train.seed, with_start)
        dataset, order = _streamed_rows(blocks), np.arange(count)
        lengths = np.full(count, cutoff)
    elif train.packing:
        if not separable:
            raise ValueError(
                f"{type(policy.causal).__name__} can't keep packed rows apart; leave packing out"
            )
        # Packs are made in the order in which they are drawn.
        dataset, order, lengths = _packed_rows(tokens, cutoff, count, train.seed)
    else:
        dataset, order = (
            _tokenized_rows(tokens),
            batching.example_order(tokens.lengths, count, **train.batching()),
        )
        lengths = tokens.lengths[order]
    one_row = is_flash(policy.causal.config._attn_implementation)
    # None: TRL's own, which pads each example to the longest of its batch.
    shared = SharedRows(policy.tokenizer.pad_token_id, batching.width_cost(policy.device))
    collator = (OneRow() if one_row else shared) if separable else None
    packed: bool | Literal["whole"] = "whole" if one_row and separable else separable
    return make_trainer(
        TokenLossTrainer, policy, settings, dataset, order, lengths, packed=packed, data_collator=collator
    )


def _tokenized_rows(tokens: Tokens) -> Any:
    """The examples as a data set that reads them from the table on access."""
    from datasets import Dataset
    from datasets.table import InMemoryTable

    table = tokens.table.select(["input_ids", "labels"])
    # Without a given fingerprint, datasets reads all rows to hash them.
    return Dataset(InMemoryTable(table), fingerprint="tokens").select(
        tokens.entries, new_fingerprint="chosen"
    )


def _streamed_rows(blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> Any:
    from trainables.training.trainer_setup import rows_on_disk

    return rows_on_disk({"input_ids": ids.tolist(), "labels": labels.tolist()} for ids, labels in blocks)


def _packed_rows(tokens: Tokens, capacity: int, count: int, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """``count`` rows of several examples each, of at most ``capacity`` tokens: data set, order, lengths (rows,)."""
    from trainables.training.trainer_setup import rows_on_disk

    packs = batching.pack_examples(tokens.lengths, capacity, count, seed)

    def rows() -> Iterator[dict[str, Any]]:
        for pack in packs:
            parts = [tokens[int(place)] for place in pack]
            yield {
                "input_ids": [token for part in parts for token in part.input_ids],
                # The first token of an example must not be predicted from the last one of another.
                "labels": [label for part in parts for label in (IGNORED, *part.labels[1:])],
                "seq_lengths": [len(part.input_ids) for part in parts],
            }

    return rows_on_disk(rows()), np.arange(count), np.array([tokens.lengths[pack].sum() for pack in packs])


class SharedRows:
    """Collates a batch in which short examples share a row, to have little padding; no example attends to another.

    Positions start at 0 with each example, and there is no attention mask: from that, transformers detects where
    examples begin (``masking_utils.find_packed_sequence_indices``). The loss is that of each example alone.
    """

    def __init__(self, pad: int, width_cost: float = 0.0) -> None:
        self.pad, self.width_cost = pad, width_cost

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import torch

        lengths = np.array([len(example["input_ids"]) for example in examples])
        rows = batching.shared_rows(lengths, self.width_cost)
        width = max(int(lengths[row].sum()) for row in rows)
        columns: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "position_ids": []}
        for row in rows:
            parts, rest = [examples[place] for place in row], width - int(lengths[row].sum())
            tokens, labels, sizes = _joined(parts)
            columns["input_ids"].append(tokens + [self.pad] * rest)
            columns["labels"].append(labels + [IGNORED] * rest)
            # Padding counts as an example of its own.
            columns["position_ids"].append([place for size in (*sizes, rest) for place in range(size)])
        return {name: torch.tensor(values) for name, values in columns.items()}


class OneRow:
    """Collates a batch into one row without padding for FlashAttention, which is told where each example begins."""

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import torch

        from trainables.models.architecture.flash_attention import flash_boundaries

        tokens, labels, sizes = _joined(examples)
        places = [place for size in sizes for place in range(size)]
        columns = {"input_ids": tokens, "labels": labels, "position_ids": places}
        return {name: torch.tensor([values]) for name, values in columns.items()} | flash_boundaries(sizes)


def _joined(examples: Sequence[dict[str, Any]]) -> tuple[list[int], list[int], list[int]]:
    """The tokens and labels of examples in one row, and the number of tokens of each."""
    tokens = [token for example in examples for token in example["input_ids"]]
    # The first token of an example must not be predicted from the last one of another.
    labels = [label for example in examples for label in (IGNORED, *example["labels"][1:])]
    # A pack is one example here, of several that were packed: each of them begins at position 0.
    sizes = [size for example in examples for size in example.get("seq_lengths", [len(example["input_ids"])])]
    return tokens, labels, sizes


def mean_loss(likelihoods: Sequence[LogLikelihood]) -> float:
    """Nats per labelled token, over all rows."""
    return -sum(row.logprob for row in likelihoods) / sum(row.tokens for row in likelihoods)
