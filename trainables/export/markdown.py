"""Texts of any kind within Markdown, as what they are: nothing in them is read as markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence


def inline_code(text: str) -> str:
    """A text as code.

    >>> code("a`b")
    '`` a`b ``'
    """
    line = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence}{line}{fence}" if fence == "`" else f"{fence} {line} {fence}"


def escaped(text: str) -> str:
    """A text as plain words.

    >>> shown("a|b *c* <d>")
    'a|b \\\\*c\\\\* \\\\<d\\\\>'
    """
    return re.sub(r"([\\`*_{}\[\]<>#])", r"\\\1", " ".join(text.split()))


def row(cells: Iterable[str]) -> str:
    """A table's row; a cell may hold a bar."""
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def table(names: Sequence[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table's lines, and an empty one after it."""
    yield from (row(names), row("---" for _ in names), *map(row, rows), "")
