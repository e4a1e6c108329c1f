"""A piece of a text that is encoded already."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.data.rows import Text
from trainables.tokenization.encode import Encoded


@dataclass(frozen=True)
class TextPiece(Text):
    """A piece of a longer text with its tokens, ``example``, which remain one example when the row is encoded.

    Decoding and encoding again would not give these tokens: a tokenizer's token for what it does not know becomes text.
    """

    example: Encoded
