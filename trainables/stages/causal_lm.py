"""What stages that predict the next token share: TRL's SFT trainer over rows that are tokens already."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.tokenization import batching
from trainables.tokenization.encode import IGNORED

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.scoring.likelihood import Judged
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy


def causal_trainer(
    policy: Policy, tokens: Tokens, train: TrainConfig, cutoff: int, arguments: dict[str, Any]
) -> transformers.Trainer:
    """A trainer on the examples' labels; they are cut to length already."""
    from trl import SFTConfig, SFTTrainer

    from trainables.training.trainer_setup import small_loss_chunks, trainer_over

    head_adapted = hasattr(policy.causal.get_output_embeddings(), "lora_A")
    settings = SFTConfig(
        **arguments,
        max_length=None,
        # Logits only where there is a label; TRL can't do that where the head has an adapter.
        loss_type="nll" if head_adapted else "chunked_nll",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    shares = keeps_examples_apart(policy.causal)
    count = train.rows_seen(settings.max_steps, len(tokens), settings.world_size)
    if train.packing:
        if not shares:
            raise ValueError(
                f"{type(policy.causal).__name__} can't keep packed rows apart; leave packing out"
            )
        dataset, order, lengths = _packed(tokens, cutoff, count, train.seed)
    else:
        dataset, order = _mapped(tokens), batching.order(tokens.lengths, count, **train.batching())
        lengths = tokens.lengths[order]
    collator = SharedRows(policy.tokenizer.pad_token_id) if shares else None
    with small_loss_chunks(policy.device):
        return trainer_over(
            SFTTrainer, policy, settings, dataset, order, lengths, shared=shares, data_collator=collator
        )


def keeps_examples_apart(model: Any) -> bool:
    """Whether the model's attention tells by positions where examples begin that share a row: those whose masks
    transformers' ``create_causal_mask`` makes, unless a layer carries a state along (linear attention, Mamba).
    """
    layers = getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"]
    # A class that torch has made of the model's own, for a model that workers share, is in torch's module.
    own = next(cls for cls in type(model).__mro__ if not cls.__module__.startswith("torch."))
    source = sys.modules[own.__module__]
    return hasattr(source, "create_causal_mask") and all(
        "attention" in kind and "linear" not in kind for kind in layers
    )


def _mapped(tokens: Tokens) -> Any:
    """The examples as a data set that reads them from the table when they are asked for."""
    from datasets import Dataset
    from datasets.table import InMemoryTable

    table = tokens.table.select(["input_ids", "labels"])
    # With a name given, the rows needn't be read through to make one of their hash.
    return Dataset(InMemoryTable(table), fingerprint="tokens").select(
        tokens.entries, new_fingerprint="chosen"
    )


def _packed(tokens: Tokens, room: int, count: int, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Data set, order, and lengths of ``count`` rows of several examples each."""
    from trainables.training.trainer_setup import on_disk

    packs = batching.packs(tokens.lengths, room, count, seed)

    def rows() -> Iterator[dict[str, Any]]:
        for pack in packs:
            parts = [tokens[int(place)] for place in pack]
            yield {
                "input_ids": [token for part in parts for token in part.input_ids],
                # The first token of an example must not be foretold from the last of another.
                "labels": [label for part in parts for label in (IGNORED, *part.labels[1:])],
                "seq_lengths": [len(part.input_ids) for part in parts],
            }

    return on_disk(rows()), np.arange(count), np.array([tokens.lengths[pack].sum() for pack in packs])


class SharedRows:
    """Makes a batch in which short examples share a row, so that little is padding, and none attends to another.

    Positions begin anew with each example, and there is no attention mask: from that, transformers tells where
    examples begin (``masking_utils.find_packed_sequence_indices``). The loss is that of each example alone.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import torch

        lengths = np.array([len(example["input_ids"]) for example in examples])
        rows = batching.shared_rows(lengths)
        width = max(int(lengths[row].sum()) for row in rows)
        columns: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "position_ids": []}
        for row in rows:
            parts, rest = [examples[place] for place in row], width - int(lengths[row].sum())
            columns["input_ids"].append(
                [token for part in parts for token in part["input_ids"]] + [self.pad] * rest
            )
            # The first token of an example must not be foretold from the last of another.
            labels = [label for part in parts for label in (IGNORED, *part["labels"][1:])]
            columns["labels"].append(labels + [IGNORED] * rest)
            sizes = [size for part in parts for size in part.get("seq_lengths", [len(part["input_ids"])])]
            # Padding is an example of its own.
            columns["position_ids"].append([place for size in (*sizes, rest) for place in range(size)])
        return {name: torch.tensor(values) for name, values in columns.items()}


def mean_loss(judged: Sequence[Judged]) -> float:
    """Nats per labelled token, over all rows."""
    return -sum(row.logprob for row in judged) / sum(row.tokens for row in judged)
