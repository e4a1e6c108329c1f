"""What a model will see of its data: rows as tokens, how long they are, and where the loss is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainables.data import loading
from trainables.data.errors import DataError
from trainables.models import locate
from trainables.tokenization import batching
from trainables.tokenization.encode import IGNORED, Encoded
from trainables.trial.config import TrialConfig
from trainables.trial.loading import tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST = 10_000  # examples whose labels are counted
SHOWN = 3

Piece = tuple[str, bool]  # a stretch of text, and whether the loss is on it


@dataclass(frozen=True)
class Look:
    """All training examples; ``lengths`` (examples,) are in tokens after the cutoff.

    ``cut`` of them were cut to it, and of ``dropped`` rows nothing to learn was left; ``learned_share`` of their
    tokens bears a loss; ``padding_share`` of a batch is padding, as the spec's batches are made.
    """

    data: loading.Data
    lengths: np.ndarray
    cut: int
    dropped: int
    learned_share: float
    padding_share: float
    examples: tuple[tuple[Piece, ...], ...]


def look(config: TrialConfig) -> Look:
    """Reads, encodes and renders a trial's training rows as its stage does.

    Raises ``DataError``, ``ModelError``, ``TemplateError``.
    """
    rows = loading.load(config.data, config.stage.needs)
    tokenizer = tokenizer_of(config)
    tokens = config.stage.tokens(tokenizer, rows.train, config.data.cutoff)
    if not len(tokens):
        raise DataError(f"{rows.name}: no row has an answer to learn; is the template right for it?")
    spread = tokens[:: -(-len(tokens) // MOST)]
    return Look(
        data=rows,
        lengths=tokens.lengths,
        cut=int(tokens.truncated.sum()),
        dropped=len(rows.train) - len(np.unique(tokens.rows)),
        learned_share=sum(map(spread.learned, range(len(spread)))) / int(spread.lengths.sum()),
        padding_share=_padding_share(config, tokens.lengths),
        examples=tuple(pieces(tokenizer, tokens[place]) for place in _some(len(tokens))),
    )


def longest(config: TrialConfig, rows: loading.Data) -> int:
    """The tokens of the longest training row after the cutoff; the cutoff where the model isn't here yet."""
    try:
        tokenizer = tokenizer_of(config)
    except locate.ModelError:
        return config.data.cutoff
    if config.train.packing:
        return config.data.cutoff
    return config.stage.longest(tokenizer, rows.train, config.data.cutoff)[1]


def steps(config: TrialConfig, rows: loading.Data) -> int:
    """The optimizer steps of a trial. An epoch's rows are counted as tokens, or, where the model isn't here yet, as
    they come.
    """
    train = config.train
    try:
        tokenizer = tokenizer_of(config)
    except locate.ModelError:
        return train.total_steps(len(rows.train))
    return config.stage.steps(tokenizer, rows.train, train, config.data.cutoff)


def _padding_share(config: TrialConfig, lengths: np.ndarray) -> float:
    train = config.train
    if train.packing:
        some = np.arange(min(len(lengths), batching.PACKED_AT_ONCE))
        packs = batching.best_fit(lengths, some, config.data.cutoff)
        return batching.padding_share(np.array([lengths[pack].sum() for pack in packs]), train.batch_size)
    if config.stage.packs:
        order = batching.order(lengths, len(lengths), **train.batching())
        return batching.padding_share(lengths[order], train.batch_size, shared=True)
    rows = lengths.reshape(-1, config.stage.sequences)
    order = batching.order(rows.max(1), len(rows), **train.batching())
    return batching.padding_share(rows[order], train.batch_size)


def pieces(tokenizer: PreTrainedTokenizerBase, row: Encoded) -> tuple[Piece, ...]:
    """The row's text, cut where the loss begins and ends.

    >>> pieces(tokenizer, row)  # doctest: +SKIP
    (('<|im_start|>user\\n2 + 2?<|im_end|>\\n<|im_start|>assistant\\n', False), ('4<|im_end|>\\n', True))
    """
    found: list[Piece] = []
    start = 0
    learned = [label != IGNORED for label in row.labels]
    for place in range(1, len(learned) + 1):
        if place == len(learned) or learned[place] != learned[start]:
            found.append((str(tokenizer.decode(row.input_ids[start:place])), learned[start]))
            start = place
    return tuple(found)


def _some(rows: int) -> list[int]:
    return [place * rows // SHOWN for place in range(min(SHOWN, rows))]
