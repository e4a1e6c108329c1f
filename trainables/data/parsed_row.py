"""The parts of a row, whatever format it was written in; and the exceptions for rows that can't be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.data.rows import Message


class InvalidRow(ValueError):  # noqa: N818
    """The row has the wrong shape. Others of its file likely have it too, so nothing is trained on the file."""


class SkippedRow(ValueError):  # noqa: N818
    """The row has the right shape, but nothing can be learned from it: it is left out, counted and reported."""


# What was added, joined or left aside so that a row could be read, each as a sentence without its full stop, such as
# "two messages of the user in a row are joined". Counted and reported; an error if the data is read strictly.
Remarks = list[str]


@dataclass(frozen=True)
class ParsedRow:
    """A row's parts. ``messages`` is the prompt, followed by the answer if the row has just one."""

    messages: tuple[Message, ...] = ()
    text: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    label: bool | None = None
    tools: str | None = None

    @property
    def answered(self) -> bool:
        """Whether the messages end with an answer."""
        return bool(self.messages) and self.messages[-1]["role"] == "assistant"


@dataclass(frozen=True)
class Layout:
    """How one file is written: its format's name, the column of each part, and the tags of its messages."""

    format: str
    columns: Mapping[str, str]
    tags: Mapping[str, str]

    def get(self, row: Mapping[str, Any], part: str) -> Any:
        """The value of a part; ``None`` if the file has no column for it."""
        return row.get(self.columns[part]) if part in self.columns else None

    def text(self, row: Mapping[str, Any], part: str) -> str:
        """A part that must be a text if the row has it; a missing part and null are empty texts."""
        value = self.get(row, part)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InvalidRow(f"{self.columns[part]} must be a text, got {abbreviated(value)}")
        return value


def abbreviated(value: Any, width: int = 60) -> str:
    """A value as an error shows it: its type and the beginning of its text."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= width else text[: width - 3] + '...'}"


def parse_label(value: Any) -> bool | None:
    """A KTO label: true or false, 1 or 0, or these as texts, as in CSV files.

    >>> parse_label("True"), parse_label(0), parse_label(None)
    (True, False, None)
    """
    if value is None or isinstance(value, bool):
        return value
    # pandas writes a column of integers with gaps as floats.
    labels = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    text = str(value).strip().lower()
    if text not in labels:
        raise InvalidRow(f"a label must be true or false, got {abbreviated(value)}")
    return labels[text]
