"""Adapters that were trained on an embedding with other rows than the base model has: tokens were added.

PEFT saves the embedding with such an adapter, or matrices as long, and loads them only into as many rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainables.models.vocabulary import resize_embedding

# The last parts of the names of embeddings and heads, which have a row for each token.
EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "word_embeddings", "embed_in", "embed_out")
# By a tensor's name after its module's, which of its dimensions has the rows.
_ROWS = {"weight": 0, "lora_embedding_A": 1, "lora_B.weight": 0}


def embedding_rows(adapter: Path) -> int | None:
    """How many rows the embedding had when the adapter was trained; ``None`` if it didn't train embedding or head."""
    from safetensors import safe_open

    rows: list[int] = []
    for file in adapter.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # no mapping, though it has keys
                if (dimension := _row_dimension(name)) is not None:
                    rows.append(tensors.get_slice(name).get_shape()[dimension])
    return max(rows, default=None)


def _row_dimension(tensor: str) -> int | None:
    """Which dimension of a tensor has a row for each token; ``None`` for all but those of embedding and head.

    >>> _row_dimension("base_model.model.lm_head.lora_B.weight")
    0
    >>> _row_dimension("base_model.model.model.layers.0.mlp.up_proj.lora_B.weight")
    """
    for module in EMBEDDINGS:
        _, module_name, suffix = tensor.rpartition(f".{module}.")
        if module_name:
            return _ROWS.get(suffix)
    return None


def fit_embedding(base: Any, adapter: Path) -> None:
    """Gives the model ``base`` as many embedding rows as the adapter was trained with."""
    rows = embedding_rows(adapter)
    if rows is not None:
        resize_embedding(base, rows)
