"""Which kind of message an English one is, so that the frequent kinds can be worded in other languages, too."""

from __future__ import annotations

import re
from collections.abc import Iterable

Kinds = tuple[tuple[str, re.Pattern[str]], ...]


def kinds(patterns: Iterable[tuple[str, str]]) -> Kinds:
    """Keys of words with what such a message begins with; the names of groups are places in the words."""
    return tuple((key, re.compile(pattern, re.DOTALL)) for key, pattern in patterns)


def kind_of(message: str, known: Kinds) -> tuple[str, dict[str, str]] | None:
    """The kind of a message and the values in it; ``None`` for a rare one."""
    for key, pattern in known:
        if match := pattern.match(message):
            return key, match.groupdict()
    return None
