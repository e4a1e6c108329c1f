"""The classes of a row: a text or a number, or a list of these where several may apply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from trainables.data.parsed_row import InvalidRow, Layout, ParsedRow, SkippedRow, abbreviated

PART = "class"
USUAL = {PART: ("class", "label", "labels", "category", "intent")}


def with_classes(parsed: ParsedRow, row: Mapping[str, Any], layout: Layout) -> ParsedRow:
    """The row with the classes in its column, where the layout reads one.

    Raises ``SkippedRow`` for a row without a label, ``InvalidRow`` for a value that is none.
    """
    if PART not in layout.columns:
        return parsed
    classes, several = parse_classes(row.get(layout.columns[PART]), layout.columns[PART])
    return replace(parsed, classes=classes, several=several)


def parse_classes(value: Any, name: str) -> tuple[tuple[str, ...], bool]:
    """The classes, each once and in order, and whether they are a list; ``name`` is the column.

    >>> parse_classes("heating", "label"), parse_classes(["a", "b", "a"], "labels"), parse_classes(3, "label")
    ((('heating',), False), (('a', 'b'), True), (('3',), False))
    """
    if isinstance(value, str) and value.lstrip().startswith("["):  # a list in a table of texts
        with suppress(ValueError):  # a label may begin with a bracket, too
            value = json.loads(value)
    if isinstance(value, list):
        return tuple(dict.fromkeys(_label(each, name) for each in value)), True
    return (_label(value, name),), False


def _label(value: Any, name: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise SkippedRow("it has no label")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():  # pandas writes integers with gaps as floats
        return str(int(value))
    if isinstance(value, str | int):
        return str(value).strip()
    raise InvalidRow(
        f"{name} must be a label, which is a text or a whole number, or a list of labels, got {abbreviated(value)}"
    )
