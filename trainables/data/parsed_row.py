"""The parts of a row, whatever format it was written in; and the exceptions for rows that can't be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.data.files.written_numbers import to_json
from trainables.data.rows import Message


class InvalidRow(ValueError):  # noqa: N818
    """The row has the wrong shape. Others of its file likely have it too, so nothing is trained on the file."""


class InvalidLabel(InvalidRow):
    """A value in the labels' ``column`` that is no label."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


class SkippedRow(ValueError):  # noqa: N818
    """The row has the right shape, but nothing can be learned from it: it is left out, counted and reported."""


# What was added, joined or left aside so that a row could be read, each as a sentence without its full stop, such as
# "two messages of the user in a row are joined". Counted and reported; an error if the data is read strictly.
Remarks = list[str]


@dataclass(frozen=True)
class ParsedRow:
    """A row's parts.

    ``messages`` is the prompt, followed by the answer if the row has just one; the answer begins with message number
    ``answer_start``, or is the last message where that is ``None``. ``chosen`` and ``rejected`` are answers of one or
    more messages, the first and the last of which are the assistant's. A message of the assistant that is not to be
    learned has ``train: False``. ``classes``: those that the row is labelled with, of which there may be any number
    where ``several`` is true.
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    chosen: tuple[Message, ...] | None = None
    rejected: tuple[Message, ...] | None = None
    label: bool | None = None
    tools: str | None = None
    answer_start: int | None = None
    classes: tuple[str, ...] | None = None
    several: bool = False

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

    def text(self, row: Mapping[str, Any], part: str, remarks: Remarks) -> str:
        """A part that must be a text if the row has it; a missing part and null are empty texts.

        Objects and lists are written as JSON, which ``remarks`` then says. Raises ``InvalidRow`` for other values.
        """
        value = self.get(row, part)
        return "" if value is None else as_text(value, self.columns[part], remarks)


def as_text(value: Any, name: str, remarks: Remarks) -> str:
    """A text as it is, a whole number as its digits, an object or a list as JSON, with a remark that names it ``name``.

    Raises ``InvalidRow`` for other values, such as fractions, which a file may have written in several ways.

    >>> as_text({"seat": 4}, "output", remarks := []), remarks
    ('{"seat": 4}', ['output is an object and is written as JSON'])
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        remarks.append(f"{name} is a number and is read as its digits")
        return str(value)
    text = _json_text(value)
    if text is None:
        quoted = isinstance(value, bool | float)
        advice = (
            f"; write it in quotes: {json.dumps(to_json(value))} (in Parquet or Arrow: as a column of texts)"
            if quoted
            else ""
        )
        raise InvalidRow(f"{name} must be a text, got {abbreviated(value)}{advice}")
    remarks.append(f"{name} is {'an object' if isinstance(value, dict) else 'a list'} and is written as JSON")
    return text


def _json_text(value: Any) -> str | None:
    if not isinstance(value, dict | list):
        return None
    try:
        return to_json(value)
    except (TypeError, ValueError):  # it holds what JSON has no form for, such as a date of a Parquet file
        return None


def abbreviated(value: Any, width: int = 60) -> str:
    """A value as an error shows it: its type and the beginning of its text."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= width else text[: width - 3] + '...'}"


def parse_label(value: Any, name: str = "label") -> bool | None:
    """A KTO label: true or false, 1 or 0, or these as texts, as in CSV files.

    >>> parse_label("True"), parse_label(0), parse_label(None)
    (True, False, None)
    """
    if value is None or isinstance(value, bool):
        return value
    # pandas writes a column of integers with gaps as floats.
    labels = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False, "": None}
    text = str(value).strip().lower()
    if text not in labels:
        raise InvalidLabel(
            name,
            f"{name} must be a label, which is true or false, or 1 or 0 (also as a text), got {abbreviated(value)}",
        )
    return labels[text]
