"""The lines of a pipe as prompts: a line of text, or one of JSON for a prompt of several lines or a conversation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

KEYS = ("prompt", "messages")


class WrongPrompt(ValueError):  # noqa: N818
    """A line of JSON that is no prompt; the message says what one looks like."""


@dataclass(frozen=True)
class PipedPrompt:
    """What a line asks, and the messages before that; ``None`` where the line doesn't give them."""

    text: str
    before: list[dict[str, Any]] | None = None


def parse_line(line: str) -> PipedPrompt:
    """The prompt that a line stands for. Raises :class:`WrongPrompt`.

    >>> parse_line("wake me at 7").text
    'wake me at 7'
    >>> parse_line('{"prompt": "Correct this:\\\\nI is."}').text
    'Correct this:\\nI is.'
    """
    tree = _json(line)
    if isinstance(tree, str):
        return PipedPrompt(tree)
    if not isinstance(tree, dict) or not any(key in tree for key in KEYS):
        return PipedPrompt(line)  # a text that happens to be JSON
    if "messages" in tree:
        return _conversation(tree["messages"])
    if not isinstance(tree["prompt"], str):
        raise WrongPrompt('prompt is no text. Write {"prompt": "..."}')
    return PipedPrompt(tree["prompt"])


def _json(line: str) -> Any:
    if not line.startswith(("{", '"')):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None


def _conversation(messages: Any) -> PipedPrompt:
    whole = isinstance(messages, list) and all(
        isinstance(message, dict) and isinstance(message.get("content"), str) and "role" in message
        for message in messages
    )
    if not whole or not messages or messages[-1]["role"] != "user":
        raise WrongPrompt(
            'messages is no conversation that ends with a question. Write {"messages": [{"role": "user", "content": '
            '"..."}]}'
        )
    return PipedPrompt(messages[-1]["content"], messages[:-1])
