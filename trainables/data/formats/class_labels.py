"""The classes of a row: a text or a number, or a list of these where several may apply."""

from __future__ import annotations

import json
import math
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


def label_text(value: Any) -> str | None:
    """The name of a label that is given as a text, a whole number or a truth value; ``None`` where there is none, which
    a blank text and NaN say, too. Raises ``ValueError`` for a value that is no label.

    >>> label_text(" a "), label_text(1.0), label_text(True), label_text("True"), label_text(float("nan"))
    ('a', '1', 'true', 'True', None)
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):  # pandas writes NaN for a gap
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():  # pandas writes integers with gaps as floats
        return str(int(value))
    if isinstance(value, str | int):
        return str(value).strip() or None
    raise ValueError(f"a label is a text or a whole number, got {abbreviated(value)}")


def _label(value: Any, name: str) -> str:
    try:
        text = label_text(value)
    except ValueError:
        raise InvalidRow(
            f"{name} must be a label, which is a text or a whole number, or a list of labels, got {abbreviated(value)}"
        ) from None
    if text is None:
        raise SkippedRow("it has no label")
    return text
