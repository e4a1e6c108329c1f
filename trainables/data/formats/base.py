"""The interface of a format."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from trainables.data.parsed_row import Layout, ParsedRow, Remarks


class Format(Protocol):
    """How rows are written, and how they are read."""

    @property
    def name(self) -> str: ...

    @property
    def tags(self) -> Mapping[str, str]:
        """The keys and role names of its messages: ``role_tag`` -> ``from``, ``user_tag`` -> ``human``, ..."""

    @property
    def expected(self) -> str:
        """Its columns, as an error describes them."""

    def fits(self, columns: Mapping[str, str]) -> bool:
        """Whether a file with columns for these parts is in this format."""

    def columns(self, existing: Collection[str], given: Mapping[str, str]) -> dict[str, str]:
        """The column of each part, among the existing columns; ``given`` ones take precedence."""

    def convert(self, row: Mapping[str, Any], layout: Layout, remarks: Remarks) -> ParsedRow:
        """The row's parts; adds to ``remarks`` what had to be changed. Raises ``InvalidRow`` or ``SkippedRow``."""


def choose_columns(
    usual: Mapping[str, tuple[str, ...]], existing: Collection[str], given: Mapping[str, str]
) -> dict[str, str]:
    """The column of each part: the given one, else the first of its usual names that exists and is still free."""
    # A column serves one part only: what is given for one part is not found again for another.
    taken = set(given.values())
    chosen = dict(given)
    for part, names in usual.items():
        if part not in chosen:
            name = next((name for name in names if name in existing and name not in taken), None)
            if name is not None:
                chosen[part] = name
                taken.add(name)
    return chosen
