"""A preview of a trial's data: training examples as tokens, their lengths, and where the loss is."""

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

MAX_COUNTED_EXAMPLES = 10_000  # whose labels are counted
SHOWN_EXAMPLES = 3

Piece = tuple[str, bool]  # a piece of text, and whether it bears the loss


@dataclass(frozen=True)
class DataPreview:
    """What a trial trains on.

    ``lengths``: (examples,), in tokens after the cutoff. ``cut``: how many examples were cut to it. ``dropped``: how
    many rows have nothing left to learn. ``learned_share``: the share of tokens that bear the loss.
    ``padding_share``: the share of padding in the trial's batches. ``examples``: some, as pieces of text.
    """

    data: loading.Data
    lengths: np.ndarray
    cut: int
    dropped: int
    learned_share: float
    padding_share: float
    examples: tuple[tuple[Piece, ...], ...]


def preview_data(config: TrialConfig) -> DataPreview:
    """The preview of a trial: its training rows, read and encoded as its stage does.

    Raises ``DataError``, ``ModelError``, ``TemplateError``.
    """
    rows = loading.load(config.data, config.stage.row_type)
    tokenizer = tokenizer_of(config)
    tokens = config.stage.tokens(tokenizer, rows.train, config.data.cutoff)
    if not len(tokens):
        raise DataError(f"{rows.name}: no row has an answer to learn; is the template right for it?")
    # Every n-th example, with n rounded up, so that at most MAX_COUNTED_EXAMPLES remain.
    counted = tokens[:: -(-len(tokens) // MAX_COUNTED_EXAMPLES)]
    return DataPreview(
        data=rows,
        lengths=tokens.lengths,
        cut=int(tokens.truncated.sum()),
        dropped=len(rows.train) - len(np.unique(tokens.rows)),
        learned_share=sum(map(counted.learned, range(len(counted)))) / int(counted.lengths.sum()),
        padding_share=_padding_share(config, tokens.lengths),
        examples=tuple(text_pieces(tokenizer, tokens[place]) for place in _spread_places(len(tokens))),
    )


def longest_row_tokens(config: TrialConfig, rows: loading.Data) -> int:
    """The tokens of the longest training row after the cutoff; the cutoff itself if the model isn't downloaded yet."""
    try:
        tokenizer = tokenizer_of(config)
    except locate.ModelError:
        return config.data.cutoff
    if config.train.packing:
        return config.data.cutoff
    return config.stage.longest_row(tokenizer, rows.train, config.data.cutoff)[1]


def optimizer_steps(config: TrialConfig, rows: loading.Data) -> int:
    """The optimizer steps of a trial; if the model isn't downloaded yet, as many as if each row became one example."""
    train = config.train
    try:
        tokenizer = tokenizer_of(config)
    except locate.ModelError:
        return train.total_steps(len(rows.train))
    return config.stage.steps(tokenizer, rows.train, train, config.data.cutoff)


def _padding_share(config: TrialConfig, lengths: np.ndarray) -> float:
    train = config.train
    if train.packing:
        some = np.arange(min(len(lengths), batching.PACKING_WINDOW))
        packs = batching.best_fit(lengths, some, config.data.cutoff)
        return batching.padding_share(np.array([lengths[pack].sum() for pack in packs]), train.batch_size)
    if config.stage.can_pack:
        order = batching.example_order(lengths, len(lengths), **train.batching())
        return batching.padding_share(lengths[order], train.batch_size, shared=True)
    # (rows, examples per row): the chosen and the rejected answer of a pair are padded to the longer one.
    rows = lengths.reshape(-1, config.stage.examples_per_row)
    order = batching.example_order(rows.max(1), len(rows), **train.batching())
    return batching.padding_share(rows[order], train.batch_size)


def text_pieces(tokenizer: PreTrainedTokenizerBase, row: Encoded) -> tuple[Piece, ...]:
    """The row's text, split where the loss begins and ends.

    >>> text_pieces(tokenizer, row)  # doctest: +SKIP
    (('<|im_start|>user\\n2 + 2?<|im_end|>\\n<|im_start|>assistant\\n', False), ('4<|im_end|>\\n', True))
    """
    pieces: list[Piece] = []
    start = 0
    learned = [label != IGNORED for label in row.labels]
    # The place after the last token closes the last piece.
    for place in range(1, len(learned) + 1):
        if place == len(learned) or learned[place] != learned[start]:
            pieces.append((str(tokenizer.decode(row.input_ids[start:place])), learned[start]))
            start = place
    return tuple(pieces)


def _spread_places(rows: int) -> list[int]:
    return [place * rows // SHOWN_EXAMPLES for place in range(min(SHOWN_EXAMPLES, rows))]
