"""From tokens to text while they are generated: only text that later tokens can't change, and nothing from a stop
text on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer decodes the first bytes of a character to


class TextStream:
    """The text of one answer, piece by piece; ``stopped`` once one of the ``stops`` was generated.

    Tokens are decoded together with those before them, because some tokenizers drop a space at the beginning (the
    method of Hugging Face's text-generation-inference, with its names for the two offsets).
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self.tokenizer, self.stops = tokenizer, tuple(stop for stop in stops if stop)
        self.stopped = False
        self._tokens: list[int] = []
        # Tokens are decoded from the first offset on; text was given out up to the second.
        self._prefix_offset = self._read_offset = 0
        self._held_back = ""  # text that may be the beginning of a stop

    def add(self, tokens: Sequence[int]) -> str:
        """The text that these tokens add; empty while it may still change."""
        self._tokens += tokens
        prefix = self._decode(self._tokens[self._prefix_offset : self._read_offset])
        text = self._decode(self._tokens[self._prefix_offset :])
        if len(text) <= len(prefix) or text.endswith(INCOMPLETE):
            return ""
        # What is given out now becomes the next prefix, so that each call decodes a few tokens only.
        self._prefix_offset, self._read_offset = self._read_offset, len(self._tokens)
        return self._until_stop(text[len(prefix) :])

    def finish(self) -> str:
        """The text that was held back, at the end of the answer."""
        prefix = self._decode(self._tokens[self._prefix_offset : self._read_offset])
        text = self._decode(self._tokens[self._prefix_offset :])
        # From left to right: `_until_stop` sets `_held_back`, which no later text can complete any more.
        rest = "" if self.stopped else self._until_stop(text[len(prefix) :]) + self._held_back
        self._held_back, self._read_offset = "", len(self._tokens)
        return rest

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _until_stop(self, text: str) -> str:
        if self.stopped:
            return ""
        text, self._held_back = self._held_back + text, ""
        positions = [position for stop in self.stops if (position := text.find(stop)) >= 0]
        if positions:
            self.stopped = True
            return text[: min(positions)]
        held_back = max((overlap(text, stop) for stop in self.stops), default=0)
        self._held_back = text[len(text) - held_back :]
        return text[: len(text) - held_back]


def overlap(text: str, stop: str) -> int:
    """How many of the last characters of ``text`` are the first of ``stop``, which may be completed by later text.

    >>> overlap("the en", "end")
    2
    """
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
