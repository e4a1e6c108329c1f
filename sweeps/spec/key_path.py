"""Where a value stands in a spec: ``("methods", 1, "rank")``, written ``methods[1].rank``."""

from __future__ import annotations

import re

KeyPath = tuple[str | int, ...]

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def format_path(keys: KeyPath) -> str:
    """The path as people write it.

    >>> show(("methods", 1, "rank"))
    'methods[1].rank'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")


def parse_path(text: str) -> KeyPath | None:
    """The path that ``text`` writes; ``None`` if it writes none.

    >>> parse("methods[1].rank")
    ('methods', 1, 'rank')
    """
    keys: list[str | int] = []
    end = 0
    while end < len(text) and (step := _STEP.match(text, end)):
        name, index = step.groups()
        # Names are joined by a dot, and only joined by it.
        if name is not None and text[end].startswith(".") == (end == 0):
            return None
        keys.append(name if index is None else int(index))
        end = step.end()
    return tuple(keys) if keys and end == len(text) else None
