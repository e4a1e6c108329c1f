"""Texts that a terminal would obey, and how tests find what is left of them."""

from __future__ import annotations

import unicodedata

ORDERS = {
    "a colour": "\x1b[35m",
    "the window's title": "\x1b]0;owned\x07",
    "the clipboard": "\x1b]52;c;ZXZpbA==\x1b\\",
    "lines above": "\x1b[7A\x1b[2K",
    "the line itself": "harmless\revil",
    "8-bit codes": "\x9b31m\x9d0;x\x9c",
    "a backspace": "abc\x08\x08\x08",
    "marks of direction": "\u202eevil\u2066x\u200f",
    "a line separator": "a\u2028b\u2029c\x85d",
    "a null": "a\x00b",
}


def obeyed(text: str) -> list[str]:
    """The characters of a text that a terminal obeys."""
    marks = "\u202e\u2066\u200f"
    return [
        c for c in text if c in marks or (unicodedata.category(c) in ("Cc", "Zl", "Zp") and c not in "\n\t")
    ]
