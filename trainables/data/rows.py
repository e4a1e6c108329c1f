"""The kinds of row that stages need; whatever people have on disk becomes one of these, once."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from trainables.storage import files

# role ("system", "user", "assistant", "tool") and content, as chat templates have them. An assistant's message may
# have tool_calls: [{"type": "function", "function": {"name": ..., "arguments": {...}}}].
Message = dict[str, Any]


@dataclass(frozen=True)
class Text:
    """Running text, to be continued.

    >>> Text("Once upon a time").key()[:8]
    'dc5a4ff3'
    """

    text: str

    def key(self) -> str:
        """The SHA-256 of the text, as hex."""
        return files.sha256(self.text)


@dataclass(frozen=True)
class Prompted:
    """Messages up to where the assistant's turn begins.

    What extends it has ``tools``: a JSON list of the functions it may call, as OpenAI writes them.
    """

    prompt: tuple[Message, ...]

    def key(self) -> str:
        """The SHA-256 of the prompt, as hex: what decides on which side of the cut a row is."""
        return files.sha256(list(self.prompt))

    def prompt_json(self) -> str:
        return json.dumps(list(self.prompt), ensure_ascii=False)


@dataclass(frozen=True)
class Conversation(Prompted):
    """Messages up to the last answer, and that answer: a text, or calls of tools, or both.

    >>> Conversation(({"role": "user", "content": "2 + 2?"},), "4").answer
    '4'
    """

    answer: str
    calls: tuple[dict[str, Any], ...] = ()
    tools: str | None = None

    def last(self) -> Message:
        """The answer as a message."""
        message: Message = {"role": "assistant", "content": self.answer}
        return message | ({"tool_calls": list(self.calls)} if self.calls else {})


@dataclass(frozen=True)
class Preference(Prompted):
    """Two answers to one prompt, the first better than the second."""

    chosen: str
    rejected: str
    tools: str | None = None


@dataclass(frozen=True)
class Labelled(Prompted):
    """An answer, and whether it is a good one."""

    completion: str
    label: bool
    tools: str | None = None


@dataclass(frozen=True)
class Prompt(Prompted):
    """A prompt alone; ``reference`` is its one right answer where there is such."""

    reference: str | None = None
    tools: str | None = None


Row = Text | Conversation | Preference | Labelled | Prompt
R = TypeVar("R", bound=Row)


def pack(row: Row) -> str:
    """The row as JSON. Keys keep their order: a template may render a call's arguments as they come."""
    values = {each.name: getattr(row, each.name) for each in fields(row)}
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def unpack(text: str, cls: type[R]) -> R:
    """The row again."""
    values: dict[str, Any] = json.loads(text)
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    return cls(**values)
