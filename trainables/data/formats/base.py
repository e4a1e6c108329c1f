"""The interface of a format."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, Protocol

from trainables.data.parsed_row import Layout, ParsedRow, Remarks

# Part -> its column; None for a part that is left out, whatever columns there are.
GivenColumns = Mapping[str, str | None]


class Format(Protocol):
    """How rows are written, and how they are read."""

    @property
    def name(self) -> str: ...

    @property
    def usual(self) -> Mapping[str, tuple[str, ...]]:
        """Its parts, and the names that the column of each usually has."""

    @property
    def tags(self) -> Mapping[str, str]:
        """The keys and role names of its messages: ``role_tag`` -> ``from``, ``user_tag`` -> ``human``, ..."""

    @property
    def expected(self) -> str:
        """Its columns, as an error describes them."""

    def fits(self, columns: Mapping[str, str]) -> bool:
        """Whether a file with columns for these parts is in this format."""

    def columns(self, existing: Collection[str], given: GivenColumns) -> dict[str, str]:
        """The column of each part, among the existing columns; ``given`` ones take precedence."""

    def convert(self, row: Mapping[str, Any], layout: Layout, remarks: Remarks) -> ParsedRow:
        """The row's parts; adds to ``remarks`` what had to be changed. Raises ``InvalidRow`` or ``SkippedRow``."""


def choose_columns(
    usual: Mapping[str, tuple[str, ...]], existing: Collection[str], given: GivenColumns
) -> dict[str, str]:
    """The column of each part: the given one, else the first of its usual names that exists and is still free.

    Where no column has exactly a usual name, one that differs by case and blanks alone is taken.

    >>> usual = {"prompt": ("instruction",), "system": ("system",)}
    >>> choose_columns(usual, ["Instruction ", "system"], {"system": None})
    {'prompt': 'Instruction '}
    """
    chosen = {part: column for part, column in given.items() if column is not None}
    # A column serves one part only: what is given for one part is not found again for another.
    free = [column for column in existing if column not in chosen.values()]
    for part, names in usual.items():
        if part not in given and (column := _find(names, free)) is not None:
            chosen[part] = column
            free.remove(column)
    return chosen


def _find(names: Iterable[str], columns: Collection[str]) -> str | None:
    names = tuple(names)
    for name in names:
        if name in columns:
            return name
    for name in names:
        similar = [column for column in columns if plain_name(column) == name]
        # Of two that differ only so, neither is taken: which one is meant can't be known.
        if len(similar) == 1:
            return similar[0]
    return None


@lru_cache(maxsize=4096)  # asked of each column of each row
def plain_name(column: str) -> str:
    """A column's name in lower case, without blanks around it, and with underscores for blanks and hyphens within.

    >>> plain_name(" Rejected Response ")
    'rejected_response'
    """
    return "_".join(column.replace("-", " ").lower().split())
