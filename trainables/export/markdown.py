"""Any text within Markdown, escaped so that nothing in it is read as markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence


def inline_code(text: str) -> str:
    """A text as inline code, in a fence that it doesn't contain.

    >>> inline_code("a`b")
    '`` a`b ``'
    """
    line = " ".join(text.split())  # no line breaks: the text may be in a table
    # One backtick more than the longest run in the text, so that none of them ends the code.
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    # Markdown removes the two spaces, which keep a backtick at the text's end apart from the fence.
    return f"{fence}{line}{fence}" if fence == "`" else f"{fence} {line} {fence}"


def escaped(text: str) -> str:
    """A text with its markup characters escaped.

    >>> escaped("a|b *c* <d>")
    'a|b \\\\*c\\\\* \\\\<d\\\\>'
    """
    return re.sub(r"([\\`*_{}\[\]<>#])", r"\\\1", " ".join(text.split()))


def row(cells: Iterable[str]) -> str:
    """A row of a table; bars in cells are escaped."""
    cells = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(cells)} |"


def table(names: Sequence[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """The lines of a table, with an empty one after it."""
    yield from (row(names), row("---" for _ in names), *map(row, rows), "")
