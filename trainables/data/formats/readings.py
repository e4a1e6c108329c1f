"""Which parts of a row a stage reads: a column that has the name of another part means something else to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trainables.data.formats.messages import ROLE_SYNONYMS
from trainables.data.parsed_row import Layout
from trainables.data.rows import Classified, Conversation, Labelled, Preference, Prompt, Text


@dataclass(frozen=True)
class Reading:
    """A set of parts that rows of one type can be read from.

    ``request_only``: its messages end before the answer. ``format``: the only format that is detected by it.
    """

    needed: frozenset[str]
    request_only: bool = False
    format: str | None = None


def _parts(*names: str, request_only: bool = False, format: str | None = None) -> Reading:
    return Reading(frozenset(names), request_only, format)


# What rows of each type can be read from, the first that is there: for pairs and labelled answers columns made for
# them come before a list of messages, which may be anything else; for conversations the list has more in it.
READINGS: Mapping[type, tuple[Reading, ...]] = {
    Text: (_parts("text"),),
    Conversation: (_parts("messages"), _parts("prompt", "response")),
    Preference: (
        _parts("prompt", "chosen", "rejected"),
        _parts("prompt", "response", "rejected"),
        _parts("messages", "chosen", "rejected", request_only=True),
        _parts("chosen", "rejected", format="completion"),
        _parts("messages", "rejected"),
        _parts("prompt", "response"),  # a list of two answers
    ),
    Labelled: (_parts("prompt", "response", "kto_tag"), _parts("messages", "kto_tag")),
    Prompt: (
        _parts("messages"),
        _parts("prompt", "response"),
        _parts("prompt", "chosen", "rejected"),
        _parts("prompt"),
        _parts("chosen", "rejected", format="completion"),
    ),
    # Without a column of classes, the answer is the class, as where the label is learned as a text.
    Classified: (
        _parts("messages", "class"),
        _parts("prompt", "class"),
        _parts("text", "class"),
        _parts("messages"),
        _parts("prompt", "response"),
    ),
}
# What belongs to the request and is read wherever it is.
CONTEXT = frozenset({"query", "history", "system", "tools"})
# Answers that are labelled bad are not learned.
OPTIONAL: Mapping[type, frozenset[str]] = {Conversation: CONTEXT | {"kto_tag"}, Text: frozenset()}


@dataclass(frozen=True)
class Candidate:
    """A layout that a file's columns allow, and what it is read for."""

    layout: Layout
    reading: Reading

    @cached_property
    def columns(self) -> set[str]:
        """The columns that it reads."""
        return set(self.layout.columns.values())

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether the row has a value of the right kind in each column that is needed."""
        values = {part: self.layout.get(row, part) for part in self.reading.needed}
        if not all(_has_value(part, value) for part, value in values.items()):
            return False
        return not (self.reading.request_only and _ends_with_answer(values["messages"], self.layout.tags))


def read_columns(columns: Mapping[str, str], reading: Reading, row_type: type) -> dict[str, str]:
    """Of the columns of all parts, those that rows of this type read."""
    read = reading.needed | OPTIONAL.get(row_type, CONTEXT)
    return {part: column for part, column in columns.items() if part in read}


def without_unmeant_label(
    layout: Layout, row_type: type, row: Mapping[str, Any], given: Collection[str]
) -> Layout:
    """The layout without its label if that need not be one of good and bad answers. ``given``: the named parts.

    A stage that learns from answers without needing labels leaves out those that are labelled bad. A column that is
    only called ``label`` often holds a class, so it counts there if its value is true or false, and not 0 or 1.
    """
    column = layout.columns.get("kto_tag")
    if row_type is not Conversation or column in (None, "kto_tag") or "kto_tag" in given:
        return layout
    if _is_truth_value(row.get(str(column))):
        return layout
    columns = {part: column for part, column in layout.columns.items() if part != "kto_tag"}
    return Layout(layout.format, columns, layout.tags)


def is_zero_or_one(value: Any) -> bool:
    """Whether a value that is no truth value may be one, or else a class."""
    return str(value).strip() in ("0", "1", "0.0", "1.0")


def _is_truth_value(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("true", "false"))


def _has_value(part: str, value: Any) -> bool:
    if part == "messages":
        # Tables hold lists as JSON.
        is_json = isinstance(value, str) and value.lstrip().startswith("[")
        is_list = isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
        return is_json or is_list
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value not in ([], {})


def _ends_with_answer(messages: Any, tags: Mapping[str, str]) -> bool:
    last = messages[-1] if isinstance(messages, list) else None
    if not isinstance(last, dict):
        return False
    role = last.get(tags["role_tag"], last.get("role", last.get("from")))
    return role in ("assistant", tags["assistant_tag"]) or ROLE_SYNONYMS.get(str(role)) == "assistant"
