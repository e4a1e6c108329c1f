"""What a row says, whatever format it was written in; and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.data.rows import Message


class Wrong(ValueError):  # noqa: N818
    """The row has not the shape it should have, and so, likely, have others: nothing is trained on the file."""


class Skip(ValueError):  # noqa: N818
    """The row has the right shape, but there is nothing to learn from it: left out, counted and reported."""


@dataclass(frozen=True)
class Found:
    """A row's parts. ``messages`` is the prompt, with the answer at its end if the row has just one."""

    messages: tuple[Message, ...] = ()
    text: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    label: bool | None = None
    tools: str | None = None

    @property
    def answered(self) -> bool:
        return bool(self.messages) and self.messages[-1]["role"] == "assistant"


@dataclass(frozen=True)
class Layout:
    """How one file says it: its format's name, the column of each part, and how its messages are tagged."""

    format: str
    columns: Mapping[str, str]
    tags: Mapping[str, str]

    def get(self, row: Mapping[str, Any], part: str) -> Any:
        """What the row has for a part; ``None`` without such a column."""
        return row.get(self.columns[part]) if part in self.columns else None

    def text(self, row: Mapping[str, Any], part: str) -> str:
        """A part that must be a text if it is there; nothing and null are empty texts."""
        value = self.get(row, part)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise Wrong(f"{self.columns[part]} must be a text, got {shown(value)}")
        return value


def shown(value: Any, width: int = 60) -> str:
    """A value as an error shows it: its kind and its beginning."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= width else text[: width - 3] + '...'}"


def label_of(value: Any) -> bool | None:
    """A KTO label: true or false, 1 or 0, or these as texts, as CSV has them.

    >>> label_of("True"), label_of(0), label_of(None)
    (True, False, None)
    """
    if value is None or isinstance(value, bool):
        return value
    known = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    if str(value).strip().lower() not in known:
        raise Wrong(f"a label must be true or false, got {shown(value)}")
    return known[str(value).strip().lower()]
