"""An option whose value may be left out, which Typer has none of: ``--gguf`` alone stands for ``--gguf f16``."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

LEFT_OUT = {"--gguf": "f16"}
VALUE = re.compile(r"b?f\d+|i?t?q\d\w*|auto", re.IGNORECASE)  # all that llama.cpp calls a type looks so


def filled(arguments: list[str]) -> list[str]:
    """The arguments with the values that were left out.

    >>> filled(["run", "out", "--gguf", "--ollama"]), filled(["--gguf", "q8_0", "run"])
    (['run', 'out', '--gguf', 'f16', '--ollama'], ['--gguf', 'q8_0', 'run'])
    """
    found: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        found.append(argument)
        if argument in LEFT_OUT and not VALUE.fullmatch(following):
            found.append(LEFT_OUT[argument])
    return found


class Command(TyperCommand):
    """A command that has such options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, filled(args))
