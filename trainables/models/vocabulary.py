"""The tokens of a tokenizer that a model's embedding has no row for."""

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
