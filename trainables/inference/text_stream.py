"""From tokens to text while they come: only what later tokens can't change, and nothing from a stop on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer makes of bytes that begin a character


class TextStream:
    """An answer's text, piece by piece.

    Tokens are decoded with those before them, as some tokenizers drop a space at the beginning (the way of Hugging
    Face's text-generation-inference).
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self.tokenizer, self.stops = tokenizer, tuple(stop for stop in stops if stop)
        self.stopped = False
        self._tokens: list[int] = []
        self._known = self._read = 0  # decoded from there, and told up to there
        self._held = ""  # may be the beginning of a stop

    def add(self, tokens: Sequence[int]) -> str:
        """The text that these tokens bring."""
        self._tokens += tokens
        before = self._decoded(self._tokens[self._known : self._read])
        now = self._decoded(self._tokens[self._known :])
        if len(now) <= len(before) or now.endswith(UNFINISHED):
            return ""
        self._known, self._read = self._read, len(self._tokens)
        return self._until_stop(now[len(before) :])

    def end(self) -> str:
        """What was held back, at the end of the answer."""
        rest = self._decoded(self._tokens[self._known :])
        told = self._decoded(self._tokens[self._known : self._read])
        found = "" if self.stopped else self._until_stop(rest[len(told) :]) + self._held
        self._held, self._read = "", len(self._tokens)
        return found

    def _decoded(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _until_stop(self, text: str) -> str:
        if self.stopped:
            return ""
        text, self._held = self._held + text, ""
        places = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if places:
            self.stopped = True
            return text[: min(places)]
        kept = max((_overlap(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters are the first of ``stop``.

    >>> _overlap("the en", "end")
    2
    """
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
