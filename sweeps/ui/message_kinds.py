"""Which kind of message an English one is, so that the frequent kinds can be worded in other languages, too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

Kinds = tuple[tuple[str, re.Pattern[str]], ...]

# Of a message, so much is looked at, and nothing behind its first line: commands and libraries of others write some,
# of any length, and patterns with several groups need time that grows with a power of the length.
MAX_CHARACTERS = 500


class Kind(NamedTuple):
    """What was found: the key of the words, the values for them, and whether nothing follows what they say."""

    key: str
    values: dict[str, str]
    is_whole: bool


def kinds(patterns: Iterable[tuple[str, str]]) -> Kinds:
    """Keys of words with what such a message begins with; the names of groups are places in the words."""
    return tuple((key, re.compile(pattern)) for key, pattern in patterns)


def kind_of(message: str, known: Kinds) -> Kind | None:
    """The kind of a message by its first line, and the values in it; ``None`` for a rare one."""
    line = message.partition("\n")[0][:MAX_CHARACTERS]
    for key, pattern in known:
        if match := pattern.match(line):
            return Kind(key, match.groupdict(), not message[match.end() :].strip())
    return None
