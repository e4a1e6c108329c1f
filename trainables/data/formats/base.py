"""What every format answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from trainables.data.parsed_row import Found, Layout


class Format(Protocol):
    """How rows are written, and how to read them."""

    @property
    def name(self) -> str: ...

    @property
    def tags(self) -> Mapping[str, str]:
        """The words its messages use."""

    @property
    def expected(self) -> str:
        """Its columns, in words."""

    def fits(self, columns: Mapping[str, str]) -> bool:
        """Whether a file with these parts is in this format."""

    def columns(self, there: Collection[str], given: Mapping[str, str]) -> dict[str, str]:
        """The column of each part that is there."""

    def convert(self, row: Mapping[str, Any], layout: Layout) -> Found:
        """The row's parts. Raises ``Wrong`` and ``Skip``."""


def choose_columns(
    usual: Mapping[str, tuple[str, ...]], there: Collection[str], given: Mapping[str, str]
) -> dict[str, str]:
    """The column that was given for a part, else the first of its usual names that is there and not taken."""
    taken = set(given.values())
    chosen = dict(given)
    for part, names in usual.items():
        if part not in chosen:
            name = next((name for name in names if name in there and name not in taken), None)
            if name is not None:
                chosen[part] = name
                taken.add(name)
    return chosen
