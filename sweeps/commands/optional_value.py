"""Options whose value may be left out, which Typer does not support: ``--gguf`` alone means ``--gguf f16``."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

DEFAULTS = {"--gguf": "f16"}
VALUE = re.compile(r"b?f\d+|i?t?q\d\w*|auto", re.IGNORECASE)  # matches every type that llama.cpp knows


def with_defaults(arguments: list[str]) -> list[str]:
    """The arguments, with the defaults of values that were left out.

    >>> with_defaults(["run", "out", "--gguf", "--ollama"]), with_defaults(["--gguf", "q8_0", "run"])
    (['run', 'out', '--gguf', 'f16', '--ollama'], ['--gguf', 'q8_0', 'run'])
    """
    complete: list[str] = []
    # Each argument with the next one; the last has none, which counts as a value left out.
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        complete.append(argument)
        if argument in DEFAULTS and not VALUE.fullmatch(following):
            complete.append(DEFAULTS[argument])
    return complete


class OptionalValueCommand(TyperCommand):
    """A command with options whose value may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_defaults(args))
