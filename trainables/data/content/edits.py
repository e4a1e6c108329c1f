"""What the data's settings change in the texts of a row: variables that are filled in, and thoughts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trainables.config.data import DataConfig
from trainables.data.parsed_row import ParsedRow, Remarks
from trainables.data.rows import Message
from trainables.data.thinking import EMPTY, edit_thinking, looks_like_thoughts

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


def edited(parsed: ParsedRow, config: DataConfig, remarks: Remarks) -> ParsedRow:
    """The row with ``{{name}}`` filled in from ``config.variables``, and thoughts edited by ``config.thinking``.

    A remark says where something that looks like thoughts stays although these were to be taken out.
    """

    def fill(text: str) -> str:
        # A name without a value stays as it is, and a warning lists it.
        return PLACEHOLDER.sub(lambda match: config.variables.get(match[1], match[0]), text)

    def edit(message: Message) -> Message:
        filled: Message = _with_texts(message, fill)
        if message["role"] != "assistant":
            return filled
        content = edit_thinking(filled["content"], config.thinking)
        if config.thinking != "keep" and looks_like_thoughts(content.removeprefix(EMPTY)):
            remarks.append(
                f"an answer holds tags of thoughts that thinking: {config.thinking} leaves where they are"
            )
        return {**filled, "content": content}

    if not config.variables and config.thinking == "keep":
        return parsed
    chosen, rejected = (answer and tuple(map(edit, answer)) for answer in (parsed.chosen, parsed.rejected))
    return replace(
        parsed,
        messages=tuple(map(edit, parsed.messages)),
        text=parsed.text and fill(parsed.text),
        chosen=chosen,
        rejected=rejected,
        # As values, not as JSON text: a quote in a variable would end a text of it.
        tools=parsed.tools and json.dumps(_with_texts(json.loads(parsed.tools), fill), ensure_ascii=False),
    )


def _with_texts(value: Any, edit: Callable[[str], str]) -> Any:
    """The value with each text in it edited, however deep; names in objects stay."""
    if isinstance(value, str):
        return edit(value)
    if isinstance(value, list):
        return [_with_texts(item, edit) for item in value]
    if isinstance(value, dict):
        return {name: _with_texts(item, edit) for name, item in value.items()}
    return value


def placeholders(row: Any) -> set[str]:
    """The names of variables that stand anywhere in a row."""
    # The representation has all texts of the row, nested ones included, and leaves braces as they are.
    text = str(row)
    return set(PLACEHOLDER.findall(text)) if "{{" in text else set()
