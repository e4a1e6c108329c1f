"""Conversations as lists of messages: ShareGPT's ``from`` and ``value``, OpenAI's ``role`` and ``content``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.data.formats.base import choose_columns
from trainables.data.formats.messages import (
    OPENAI,
    SHAREGPT_TAGS,
    answer_text,
    read_messages,
    read_tools,
)
from trainables.data.formats.prompt_completion import SHARED
from trainables.data.parsed_row import InvalidRow, Layout, ParsedRow, Remarks, SkippedRow, parse_label
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

    def columns(self, existing: Collection[str], given: Mapping[str, str]) -> dict[str, str]:
        return choose_columns(self.usual, existing, given)

    def convert(self, row: Mapping[str, Any], layout: Layout, remarks: Remarks) -> ParsedRow:
        value = layout.get(row, "messages")
        if value is None:
            raise SkippedRow("it has no messages")
        messages = read_messages(value, layout.tags, layout.text(row, "system"))
        messages, chosen, rejected = _preferred(row, layout, messages)
        return ParsedRow(
            messages=messages,
            chosen=chosen,
            rejected=rejected,
            label=parse_label(layout.get(row, "kto_tag")),
            tools=read_tools(layout.get(row, "tools")),
        )


def _preferred(
    row: Mapping[str, Any], layout: Layout, messages: tuple[Message, ...]
) -> tuple[tuple[Message, ...], str | None, str | None]:
    rejected = layout.get(row, "rejected")
    if rejected is None:
        return messages, None, None
    if "chosen" in layout.columns:
        return (
            messages,
            answer_text(layout.get(row, "chosen"), layout.tags),
            answer_text(rejected, layout.tags),
        )
    if messages[-1]["role"] != "assistant":  # ms-swift: the messages end with the chosen answer
        raise InvalidRow(
            "there is a rejected answer, but neither a chosen one nor one that ends the messages"
        )
    return messages[:-1], str(messages[-1]["content"]), answer_text(rejected, layout.tags)


SHAREGPT = MessagesFormat(
    "sharegpt",
    "conversations with from and value",
    {"messages": ("conversations", "conversation"), **PARTS},
    SHAREGPT_TAGS,
)
MESSAGES = MessagesFormat(
    "messages", "messages with role and content", {"messages": ("messages",), **PARTS}, OPENAI
)
