"""Paths of values in a spec: ``("methods", 1, "rank")``, written ``methods[1].rank``."""

from __future__ import annotations

import re

KeyPath = tuple[str | int, ...]

# A name with an optional dot before it, or an index in brackets: exactly one of the two groups is set.
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def format_path(path: KeyPath) -> str:
    """The path as people write it.

    >>> format_path(("methods", 1, "rank"))
    'methods[1].rank'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def parse_path(text: str) -> KeyPath | None:
    """The path that ``text`` denotes, or ``None`` if it is malformed.

    >>> parse_path("methods[1].rank")
    ('methods', 1, 'rank')
    """
    path: list[str | int] = []
    end = 0
    while end < len(text) and (step := _STEP.match(text, end)):
        name, index = step.groups()
        # A dot stands before every name but the first: neither ".a" nor "a[0]b" is a path.
        if name is not None and text[end].startswith(".") == (end == 0):
            return None
        path.append(name if index is None else int(index))
        end = step.end()
    return tuple(path) if path and end == len(text) else None
