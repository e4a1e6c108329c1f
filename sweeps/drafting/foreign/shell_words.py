"""Words of a shell script: a command line that somebody pasted into a file, with its quotes, comments and variables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from ruamel.yaml.error import YAMLError

from sweeps.spec import source
from trainables.config import limits
from trainables.system.redaction import SECRET_NAMES

# Of a quoted text: each of its lines has the text read again, so a quote that never ends would take hours.
MAX_QUOTED_LINES, MAX_QUOTED_BYTES = 100, 2**14
MAX_VARIABLE = 1024  # characters of a variable's value, which a script may repeat in every word
END = "\n"  # of a command, as a word
ENDS = (END, ";", "&&", "||", "|", ">", ">>", "2>&1", "&")
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def shell_words(text: str) -> Iterator[tuple[str, int]]:
    """The words of a shell script with their lines; comments are left out, and quotes may span lines.

    They end before a quoted text that is longer than any argument.
    The end of a command is a word of its own, :data:`END`.
    """
    begun, start = "", 0
    for number, line in enumerate(text.replace("\\\r\n", "\\\n").splitlines(), start=1):
        if not begun and line.lstrip().startswith("#"):
            continue
        begun, start = (f"{begun}\n{line}", start) if begun else (line, number)
        if (words := _split(begun)) is None:
            if number - start >= MAX_QUOTED_LINES or len(begun) > MAX_QUOTED_BYTES:
                return
            continue
        yield from ((word, start) for word in words)
        if not begun.rstrip().endswith("\\"):
            yield END, number
        begun = ""


def _split(line: str) -> list[str] | None:
    """The words of a line without its comment; ``None`` where a quote is still open."""
    line = re.sub(r"\\\s*$", "", line)
    # What looks like a comment may stand in quotes.
    for text in (re.sub(r"\s#\s.*$", "", line), line):
        with suppress(ValueError):
            return shlex.split(text)
    return None


def assigned_variables(words: list[tuple[str, int]]) -> dict[str, str]:
    """The variables that a script sets itself, by ``NAME=value``."""
    matches = (ASSIGNMENT.fullmatch(word) for word, _ in words if not word.startswith("-"))
    # A key is none of the settings, and would be shown with them.
    return {
        match[1]: match[2]
        for match in matches
        if match and len(match[2]) <= MAX_VARIABLE and not SECRET_NAMES.search(match[1])
    }


def option_value(values: list[str], variables: Mapping[str, str]) -> Any:
    """What the words behind a key stand for; a flag without any is true."""
    read = [_scalar(filled(value, variables)) for value in values]
    return True if not read else read[0] if len(read) == 1 else read


def filled(text: str, variables: Mapping[str, str]) -> str:
    """The text with variables that the script itself sets; others stay, and all do that would make it enormous."""
    filled_in = sum(len(variables.get(match[1] or match[2], "")) for match in _VARIABLE.finditer(text))
    if filled_in > limits.SPEC_BYTES:
        return text
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), text)


def _scalar(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    try:
        value = source.parse_value(text)
    except YAMLError:
        return text
    # A text may have line breaks, which YAML reads as spaces.
    return text if isinstance(value, str | list) or value is None else value


def is_shell_value(value: Any) -> bool:
    """Whether a value is a variable of the shell, which can't be known."""
    return isinstance(value, str) and _VARIABLE.search(value) is not None
