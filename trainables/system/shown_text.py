"""Texts of others as terminals and pages may show them: what a terminal would obey is a picture or a name.

An escape sequence in a data set, an error or an answer could otherwise set the window's title, write to the clipboard,
hide lines above it or colour them, and marks of direction show a text in another order than it has.
"""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO

# C0 without tab and line feed, delete, C1, marks of direction, line and paragraph separators, halves of pairs.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ud800-\udfff]"
)


def shown(text: str) -> str:
    """The text with a picture or a name in place of each character that a terminal or a browser would obey.

    >>> shown("\\x1b[31mred\\u202e")
    '␛[31mred<U+202E>'
    """
    return _OBEYED.sub(lambda match: picture(match[0]), text)


def with_short_hashes(text: str) -> str:
    """The text with the first 8 digits of each SHA-256 in it.

    >>> with_short_hashes('"my_rewards:brevity" "' + 8 * "0123abcd" + '"')
    '"my_rewards:brevity" "0123abcd"'
    """
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1", text)


def picture(character: str) -> str:
    """Unicode's picture of a control character, or the number of another character.

    >>> picture("\\x07"), picture("\\x85")
    ('␇', '<U+0085>')
    """
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"<U+{code:04X}>"


class TerminalStream:
    """A standard stream that is a terminal: texts are written as :func:`shown` gives them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # Rich writes the codes of its own colours; its consoles here show texts as this does (see ``sweeps.console``).
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        return self._stream.write(shown(text))

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_terminals() -> None:
    """Has this process write to terminals as :class:`TerminalStream` does; files and pipes get texts as they are."""
    streams: Any = sys
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty() and not isinstance(stream, TerminalStream):
            setattr(streams, name, TerminalStream(stream))
