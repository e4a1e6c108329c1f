"""What a model will see of its data: rows as tokens, how long they are, and where the loss is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables import data, models
from trainables.config import TrialConfig
from trainables.encode import IGNORED, Encoded
from trainables.policy import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST = 10_000  # rows whose lengths are looked at
SHOWN = 3

Piece = tuple[str, bool]  # a stretch of text, and whether the loss is on it


@dataclass(frozen=True)
class Look:
    """Lengths are in tokens after the cutoff, of ``len(lengths)`` rows spread evenly over the training rows."""

    data: data.Data
    lengths: tuple[int, ...]
    learned: tuple[int, ...]  # tokens of each with a loss
    cut: int  # of these rows, how many were cut to the cutoff
    examples: tuple[tuple[Piece, ...], ...]


def look(config: TrialConfig) -> Look:
    """Reads, encodes and renders a trial's training rows as its stage does.

    Raises ``DataError``, ``ModelError``, ``TemplateError``.
    """
    rows = data.load(config.data, config.stage.needs)
    tokenizer = load_tokenizer(models.folder(config.model), config.data.template)
    spread = rows.train[:: -(-len(rows.train) // MOST)]
    encoded = config.stage.encode(tokenizer, spread, config.data.cutoff)
    return Look(
        data=rows,
        lengths=tuple(len(row.input_ids) for row in encoded),
        learned=tuple(sum(label != IGNORED for label in row.labels) for row in encoded),
        cut=sum(row.truncated for row in encoded),
        examples=tuple(pieces(tokenizer, row) for row in _some(encoded)),
    )


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


def _some(rows: Sequence[Any]) -> Sequence[Any]:
    return [rows[place * len(rows) // SHOWN] for place in range(min(SHOWN, len(rows)))]
