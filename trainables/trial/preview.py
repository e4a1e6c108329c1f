"""A preview of a trial's data: training examples as tokens, their lengths, and where the loss is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.data import loading
from trainables.data.arrow_rows import Rows
from trainables.data.errors import DataError
from trainables.data.overlaps import Overlaps, find_overlaps
from trainables.data.rows import Classified, Labelled
from trainables.models import locate
from trainables.stages.forward_pass import RowLength
from trainables.system import machine
from trainables.system.wording import counted
from trainables.tokenization import batching
from trainables.tokenization.encode import IGNORED, Encoded
from trainables.tokenization.encoder_input import TEXTS_ALONE
from trainables.tokenization.rendered_conversation import NO_PLACE
from trainables.trial.config import TrialConfig
from trainables.trial.known_tokenizer import deferred_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from trainables.tokenization.token_table import Tokens

MAX_COUNTED_EXAMPLES = 10_000  # whose labels are counted
SHOWN_EXAMPLES = 3

MAX_PLACES = 3  # rows that are named for a remark

Piece = tuple[str, bool]  # a piece of text, and whether it bears the loss


@dataclass(frozen=True)
class DataPreview:
    """What a trial trains on.

    ``lengths``: (examples,), in tokens after the cutoff; ``rows``: how many rows these are of; ``per_row``: 2 where a
    row is a pair of answers, else 1, though some templates split a row of several turns into more. ``cut``: how many
    examples were cut to it. ``remarks``: what is true of the tokens of some rows, those that are left out included.
    ``learned_share``: the share of tokens that bear the loss. ``padding_share``: the share of padding in the trial's
    batches. ``examples``: some, as pieces of text; ``titles``: where the row of each stands, and which of the row's
    answers it has. ``overlaps``: what of the test rows is trained on, ``None`` without test rows.
    """

    data: loading.Data
    lengths: np.ndarray
    cut: int
    remarks: tuple[str, ...]
    learned_share: float
    padding_share: float
    examples: tuple[tuple[Piece, ...], ...]
    titles: tuple[str, ...]
    rows: int
    per_row: int = 1
    overlaps: Overlaps | None = None


def preview_data(config: TrialConfig) -> DataPreview:
    """The preview of a trial: its training rows, read and encoded as its stage does.

    Raises ``DataError``, ``ModelError``, ``TemplateError``.
    """
    from trainables.trial.tokenizer import tokenizer_of  # which imports torch

    rows = loading.load(config.data, config.stage.row_type)
    tokenizer = tokenizer_of(config)
    tokens = config.stage.tokens(tokenizer, rows.train, config.data.cutoff)
    if not len(tokens):
        raise DataError(f"{rows.name}: no row has an answer to learn; is the template right for it?")
    # Every n-th example, with n rounded up, so that at most MAX_COUNTED_EXAMPLES remain.
    shown = _shown_places(tokens, config.stage.examples_per_row)
    sample = tokens[:: -(-len(tokens) // MAX_COUNTED_EXAMPLES)]
    return DataPreview(
        data=rows,
        lengths=tokens.lengths,
        cut=int(tokens.truncated.sum()),
        remarks=tuple(remark.text for remark in row_remarks(config, rows)),
        learned_share=config.stage.loss_share
        * sum(map(sample.learned, range(len(sample))))
        / int(sample.lengths.sum()),
        padding_share=_padding_share(config, tokens.lengths),
        examples=tuple(
            text_pieces(tokenizer, config.stage.drawn(tokenizer, tokens[place], place, config.train.seed))
            for place in shown
        ),
        titles=tuple(_title(rows.train, tokens, place, config.stage.examples_per_row) for place in shown),
        rows=len(np.unique(tokens.rows)),
        per_row=config.stage.examples_per_row,
        overlaps=find_overlaps(rows.train, rows.test),
    )


@dataclass(frozen=True)
class RowRemark:
    """What is true of the tokens of some rows, as a sentence with their number and the first places.

    ``nothing_left``: no training row is left. ``held_out``: the rows are of ``data.eval``. ``no_place``: the chat
    template has no place for tools, calls or results of theirs. ``texts_alone``: neither has an encoder.
    """

    text: str
    nothing_left: bool = False
    held_out: bool = False
    no_place: bool = False
    texts_alone: bool = False


def row_remarks(config: TrialConfig, rows: loading.Data) -> list[RowRemark]:
    """What a trial's user should know about the tokens of its rows: those that are left out, cut, or lose something.

    Raises ``ModelError``, and ``TemplateError`` for a row that can't be rendered or encoded.
    """
    tokenizer = deferred_tokenizer(config)
    training = config.stage.tokens(tokenizer, rows.train, config.data.cutoff)
    held_out = [
        (part, config.stage.tokens(tokenizer, part, config.data.scored_cutoff, scoring=True))
        for part in (rows.validation, rows.test)
    ]
    # Files of their own are counted on their own.
    parts = [(False, [(rows.train, training)]), (True, held_out)]
    if not config.data.eval_names:
        parts = [(False, [(rows.train, training), *held_out])]
    remarks = [remark for is_held_out, group in parts for remark in _remarks_on(group, is_held_out)]
    if not len(training):
        text = f"{rows.name}: no training row has anything to learn; is the chat template right for it?"
        remarks.append(RowRemark(text, nothing_left=True))
    return remarks


def _remarks_on(group: Sequence[tuple[Sequence[Any], Tokens]], held_out: bool) -> list[RowRemark]:
    """The remarks on some rows, which come with their tokens."""
    found: dict[str, list[str]] = {}  # remark -> the places of its rows
    counts: Counter[str] = Counter()
    for part, tokens in group:
        for remark, numbers in tokens.remarks.items():
            counts[remark] += len(numbers)
            places = found.setdefault(remark, [])
            places += [_place(part, int(number)) for number in numbers[: MAX_PLACES - len(places)]]
    total = sum(len(part) for part, _ in group)
    return [
        RowRemark(
            _remark_text(remark, counts[remark], total, places),
            held_out=held_out,
            no_place=remark.startswith((NO_PLACE, TEXTS_ALONE)),
            texts_alone=remark.startswith(TEXTS_ALONE),
        )
        for remark, places in found.items()
    ]


def _place(rows: Sequence[Any], number: int) -> str:
    """Where a row stands in its file."""
    return rows.where(number) if isinstance(rows, Rows) else f"row {number + 1}"


def _remark_text(remark: str, count: int, total: int, places: Sequence[str]) -> str:
    more = ", ..." if count > len(places) else ""
    return f"in {count} of {counted(total, 'row')} {remark} ({', '.join(places)}{more})"


def largest_row(config: TrialConfig, rows: loading.Data) -> RowLength:
    """The length that no training row exceeds after the cutoff; the cutoff itself if the model isn't downloaded yet."""
    try:
        tokenizer = deferred_tokenizer(config)
    except locate.ModelError:
        return RowLength(config.data.cutoff)
    if config.train.packing:
        return RowLength(config.data.cutoff)
    return config.stage.largest_row(tokenizer, rows.train, config.data.cutoff)


def optimizer_steps(config: TrialConfig, rows: loading.Data) -> int:
    """The optimizer steps of a trial; if the model isn't downloaded yet, as many as if each row became one example."""
    train = config.train
    try:
        tokenizer = deferred_tokenizer(config)
    except locate.ModelError:
        return train.total_steps(len(rows.train))
    return config.stage.steps(tokenizer, rows.train, train, config.data.cutoff)


def _padding_share(config: TrialConfig, lengths: np.ndarray) -> float:
    train = config.train
    if train.packing == "stream":
        return 0.0
    if train.packing:
        some = np.arange(min(len(lengths), batching.PACKING_WINDOW))
        packs = batching.best_fit(lengths, some, config.data.cutoff)
        return batching.padding_share(np.array([lengths[pack].sum() for pack in packs]), train.batch_size)
    if config.stage.can_pack and config.stage.task == "CAUSAL_LM":
        order = batching.example_order(lengths, len(lengths), **train.batching())
        cost = batching.width_cost("cuda" if machine.nvidia_devices() else "cpu")
        return batching.padding_share(lengths[order], train.batch_size, shared=True, width_cost=cost)
    # (rows, examples per row): the chosen and the rejected answer of a pair are padded to the longer one.
    rows = lengths.reshape(-1, config.stage.examples_per_row)
    order = batching.example_order(rows.max(1), len(rows), **train.batching())
    return batching.padding_share(rows[order], train.batch_size)


def text_pieces(tokenizer: PreTrainedTokenizerBase, row: Encoded) -> tuple[Piece, ...]:
    """The row's text, split where the loss begins and ends.

    >>> text_pieces(tokenizer, row)  # doctest: +SKIP
    (('<|im_start|>user\\n2 + 2?<|im_end|>\\n<|im_start|>assistant\\n', False), ('4<|im_end|>\\n', True))
    """
    return tuple((str(tokenizer.decode(ids)), learned) for ids, learned in token_pieces(row))


def token_pieces(row: Encoded) -> Iterator[tuple[list[int], bool]]:
    """The row's tokens, split where the loss begins and ends: those of each piece, and whether they bear the loss."""
    start = 0
    learned = [label != IGNORED for label in row.labels]
    # The place after the last token closes the last piece.
    for place in range(1, len(learned) + 1):
        if place == len(learned) or learned[place] != learned[start]:
            yield row.input_ids[start:place], learned[start]
            start = place


def _shown_places(tokens: Tokens, per_row: int) -> list[int]:
    """The places of the shown examples, all ``per_row`` of a row, spread over the rows."""
    rows = len(tokens) // per_row
    count = min(SHOWN_EXAMPLES, rows)
    return [row * rows // count * per_row + side for row in range(count) for side in range(per_row)]


def _title(rows: Sequence[Any], tokens: Tokens, place: int, per_row: int) -> str:
    number = int(tokens.rows[place])
    row = rows[number]
    side = ""
    if per_row == 2:
        side = ", chosen" if place % 2 == 0 else ", rejected"
    elif isinstance(row, Labelled):
        side = ", labelled good" if row.label else ", labelled bad"
    elif isinstance(row, Classified):
        side = f", labelled {row.label}"
    return f"{_place(rows, number)}{side}"
