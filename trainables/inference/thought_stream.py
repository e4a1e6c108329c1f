"""Tells the thoughts of an answer from the answer itself while its text is generated piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

from trainables.data.thinking import TAGS, opened_thought
from trainables.inference.text_stream import overlap


class ThoughtStream:
    """Splits text at the tags around thoughts, which are left out.

    >>> stream = ThoughtStream()
    >>> [piece for text in ("<thi", "nk>Two", " and two.</think>4") for piece in stream.add(text)]
    [('Two', True), (' and two.', True), ('4', False)]
    """

    def __init__(self, prompt_end: str = "") -> None:
        """``prompt_end``: the last text of the prompt, which may have opened a thought."""
        opened = opened_thought(prompt_end)
        self._end = TAGS[opened[1]] if opened is not None and opened[3] is None else None
        self._held_back = ""  # text that may be the beginning of a tag

    def add(self, text: str) -> Iterator[tuple[str, bool]]:
        """The pieces that this text adds, each with whether it is thought."""
        text, self._held_back = self._held_back + text, ""
        while (found := self._next_tag(text)) is not None:
            place, tag = found
            if place:
                yield text[:place], self.thinking
            text = text[place + len(tag) :]
            self._end = None if self.thinking else TAGS[tag]
        held = max((overlap(text, tag) for tag in self._tags), default=0)
        self._held_back = text[len(text) - held :]
        if text := text[: len(text) - held]:
            yield text, self.thinking

    def finish(self) -> Iterator[tuple[str, bool]]:
        """What was held back, at the end of the answer."""
        if self._held_back:
            yield self._held_back, self.thinking
        self._held_back = ""

    @property
    def thinking(self) -> bool:
        """Whether what comes next is thought."""
        return self._end is not None

    @property
    def _tags(self) -> tuple[str, ...]:
        return (self._end,) if self._end is not None else tuple(TAGS)

    def _next_tag(self, text: str) -> tuple[int, str] | None:
        found = [(place, tag) for tag in self._tags if (place := text.find(tag)) >= 0]
        return min(found, default=None)
