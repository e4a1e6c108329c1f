"""Documents as one stream of tokens, cut into blocks of one length, wherever documents end (``packing: stream``).

As GPT-3 was pre-trained (Brown et al., 2020, arXiv:2005.14165, appendix B), and as LLaMA-Factory packs: tokens attend
to the documents before theirs in the block, and end tokens alone say where one ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from trainables.tokenization.encode import IGNORED
from trainables.tokenization.token_table import Tokens


def block_count(tokens: Tokens, size: int, with_start: bool) -> int:
    """How many blocks of ``size`` tokens an epoch over the documents has, the begun one left out; at least 1.

    ``tokens``: the documents in pieces, as ``Pretrain.encode`` gives them; the rest as for :func:`blocks`.
    """
    starts = len(np.unique(tokens.rows)) if with_start else 0
    return max(1, (int(tokens.lengths.sum()) - len(tokens) + starts) // size)


def blocks(
    tokens: Tokens, size: int, count: int, seed: int, with_start: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``count`` blocks: their tokens and labels, (size,) each.

    ``with_start``: the start token stands before each document, and has no label. Documents are in another order in
    each epoch, and one stream goes through all epochs, so that no token is left out.
    """
    ids, labels = np.empty(0, np.int64), np.empty(0, np.int64)
    stream = _documents(tokens, seed, with_start)
    for _ in range(count):
        parts = [(ids, labels)]
        while sum(len(part) for part, _ in parts) < size:
            parts.append(next(stream))
        ids, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        yield ids[:size], labels[:size]
        ids, labels = ids[size:], labels[size:]


def _documents(tokens: Tokens, seed: int, with_start: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tokens and labels of the documents, epoch after epoch."""
    # A document's pieces are neighbours: where each document begins, and where the last one ends.
    bounds = np.append(np.flatnonzero(np.diff(tokens.rows, prepend=-1)), len(tokens))
    column, epoch = tokens.table["input_ids"], 0
    while True:
        for document in np.random.default_rng([seed, 3, epoch]).permutation(len(bounds) - 1):
            pieces = [
                column[int(tokens.entries[place])].values.to_numpy()
                for place in range(bounds[document], bounds[document + 1])
            ]
            # Each piece begins with the start token.
            start = pieces[0][: int(with_start)]
            text = np.concatenate([piece[1:] for piece in pieces])
            yield np.concatenate([start, text]), np.concatenate([np.full_like(start, IGNORED), text])
        epoch += 1
