"""The rows of a model's embedding, one for each token, and the tokens of a tokenizer that have none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MissingRows:
    """How many rows an embedding lacks, and the ``tokens`` that have none: fewer than rows where ids are skipped."""

    rows: int = 0
    tokens: tuple[str, ...] = ()


NO_ROWS = MissingRows()


def missing_rows(tokenizer: Any, rows: int) -> MissingRows:
    """What an embedding of ``rows`` rows lacks for all tokens that the tokenizer can produce, special ones too: any
    text may contain them.

    >>> class Tokenizer:
    ...     def get_vocab(self): return {"a": 0, "b": 5}
    ...     def __len__(self): return 2
    >>> missing_rows(Tokenizer(), 4)
    MissingRows(rows=2, tokens=('b',))
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    # Tokenizers that come with code of their own may leave added tokens out of the one or the other.
    needed = max(len(tokenizer), 1 + max(vocabulary.values(), default=-1))
    tokens = sorted((number, token) for token, number in vocabulary.items() if number >= rows)
    return MissingRows(max(0, needed - rows), tuple(token for _, token in tokens))


def resize_embedding(model: Any, rows: int) -> None:
    """Gives a loaded model's embedding, and its head if it predicts tokens, so many rows.

    A new row is the mean of the existing ones, which changes the model's answers least (Hewitt, 2021,
    https://nlp.stanford.edu/~johnhew/vocab-expansion.html).
    """
    import torch

    before = model.get_input_embeddings().weight.shape[0]
    if rows == before:
        return
    # The new rows are set below; `mean_resizing` would draw them at random around the mean.
    model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            if module is not None and rows > before:  # a reward model predicts no tokens
                # (rows, hidden) -> (hidden,), computed in 32 bits and rounded once.
                module.weight[before:] = module.weight[:before].float().mean(0).to(module.weight.dtype)
