"""Conversations as lists of messages: ShareGPT's ``from`` and ``value``, OpenAI's ``role`` and ``content``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.data.formats.base import choose_columns
from trainables.data.formats.class_labels import with_classes
from trainables.data.formats.messages import OPENAI, SHAREGPT_TAGS, read_answer, read_messages
from trainables.data.formats.pairs import divide_pair
from trainables.data.formats.prompt_completion import SHARED
from trainables.data.formats.tool_calls import with_tools
from trainables.data.formats.turns import arranged
from trainables.data.parsed_row import Layout, ParsedRow, Remarks, SkippedRow, parse_label
from trainables.data.rows import Message

# Earlier turns are in the list of messages itself, so a column of history has no meaning here.
PARTS = {part: names for part, names in SHARED.items() if part != "history"}


@dataclass(frozen=True)
class MessagesFormat:
    """Rows with a list of messages, and possibly a chosen and a rejected answer, a label or tools."""

    name: str
    expected: str
    usual: Mapping[str, tuple[str, ...]]
    tags: Mapping[str, str]

    def fits(self, columns: Mapping[str, str]) -> bool:
        return "messages" in columns

    def columns(self, existing: Collection[str], given: Mapping[str, str | None]) -> dict[str, str]:
        return choose_columns(self.usual, existing, given)

    def convert(self, row: Mapping[str, Any], layout: Layout, remarks: Remarks) -> ParsedRow:
        value = layout.get(row, "messages")
        if value is None:
            raise SkippedRow("it has no messages")
        given = read_messages(value, layout.tags, remarks, layout.columns["messages"])
        messages = arranged(given, remarks, layout.text(row, "system", remarks))
        # Where the messages are a text, as in CSV files, so are the answers.
        messages, chosen, rejected = _pair(row, layout, messages, isinstance(value, str), remarks)
        label = parse_label(layout.get(row, "kto_tag"), layout.columns.get("kto_tag", "label"))
        parsed = ParsedRow(messages=messages, chosen=chosen, rejected=rejected, label=label)
        parsed = with_classes(parsed, row, layout)
        return with_tools(parsed, layout.get(row, "tools"), remarks)


def _pair(
    row: Mapping[str, Any], layout: Layout, messages: tuple[Message, ...], as_json: bool, remarks: Remarks
) -> tuple[tuple[Message, ...], tuple[Message, ...] | None, tuple[Message, ...] | None]:
    """The prompt, the chosen and the rejected answer; the messages as they are if the row has no pair."""
    answers = {
        part: read_answer(value, layout.columns[part], layout.tags, remarks, as_json)
        for part in ("chosen", "rejected")
        if (value := layout.get(row, part)) not in (None, "", [])
    }
    if "rejected" not in answers or ("chosen" in layout.columns and "chosen" not in answers):
        return messages, None, None
    other = answers["rejected"]
    if "chosen" in answers:
        return divide_pair(messages, answers["chosen"], other, remarks)
    if messages[-1]["role"] != "assistant":  # ms-swift: the messages end with the chosen answer
        raise SkippedRow("it has a rejected answer, but no chosen one, nor one that ends the messages")
    if other[0]["role"] == "assistant":
        return divide_pair(messages[:-1], messages[-1:], other, remarks)
    return divide_pair((), messages, other, remarks)


SHAREGPT = MessagesFormat(
    "sharegpt",
    "conversations with from and value",
    {"messages": ("conversations", "conversation"), **PARTS},
    SHAREGPT_TAGS,
)
MESSAGES = MessagesFormat(
    "messages", "messages with role and content", {"messages": ("messages",), **PARTS}, OPENAI
)
