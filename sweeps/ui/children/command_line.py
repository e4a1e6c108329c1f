"""Paretune's command line as a list of arguments, and the check of values that people typed."""

from __future__ import annotations

import sys
from collections.abc import Sequence


class WrongArgument(ValueError):  # noqa: N818
    """A value that a command would take for one of its options, or that no process can be given."""


def command_line(argv: Sequence[str]) -> list[str]:
    """The process that runs ``paretune`` with these arguments, from this installation and not from the working folder.

    >>> command_line(["plan", "-"])[1:]
    ['-P', '-m', 'sweeps.cli', 'plan', '-']
    """
    return [sys.executable, "-P", "-m", "sweeps.cli", *map(checked, argv)]


def checked(argument: str) -> str:
    """The argument. Raises :class:`WrongArgument` for one with a character that no argument can have."""
    if "\0" in argument:
        raise WrongArgument("a value contains the character NUL, which no command can be given")
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError:
        raise WrongArgument("a value contains half of a character; type it again") from None
    return argument


def operand(value: str) -> str:
    """A value that a person typed, where a command expects a name. Raises :class:`WrongArgument` for an option.

    >>> operand("runs/methods")
    'runs/methods'
    """
    if not value.strip():
        raise WrongArgument("the value is empty")
    if value.startswith("-"):
        raise WrongArgument(
            f"{value!r} begins with a dash; names that do are not accepted. Put ./ before the name of a file"
        )
    return checked(value)
