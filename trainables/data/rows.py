"""The types of rows that stages need; every file is converted to one of these."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from trainables.storage import files

# Keys as chat templates expect them: role ("system", "user", "assistant", "tool") and content. An assistant's message
# may have tool_calls: [{"type": "function", "function": {"name": ..., "arguments": {...}}}].
Message = dict[str, Any]


@dataclass(frozen=True)
class Text:
    """Running text without roles, for pre-training.

    >>> Text("Once upon a time").key()[:8]
    'd2604962'
    """

    text: str

    def key(self) -> str:
        """The SHA-256 of the text, in hex."""
        return files.sha256(self.text)


@dataclass(frozen=True)
class Prompted:
    """Messages up to the beginning of the assistant's answer.

    Subclasses have ``tools``: the functions that the answer may call, as JSON in OpenAI's form.
    """

    prompt: tuple[Message, ...]

    def key(self) -> str:
        """The SHA-256 of the prompt, in hex; it decides whether the row is held out."""
        # Answer and tools are left out: rows of one prompt must fall on the same side of the split.
        return files.sha256(list(self.prompt))

    def prompt_json(self) -> str:
        """The prompt's messages as a JSON list."""
        return json.dumps(list(self.prompt), ensure_ascii=False)


@dataclass(frozen=True)
class Conversation(Prompted):
    """Messages up to the last answer, and that answer: a text, tool calls, or both.

    ``untrained``: the numbers of the prompt's messages that are answers and are not learned.

    >>> Conversation(({"role": "user", "content": "2 + 2?"},), "4").answer
    '4'
    """

    answer: str
    calls: tuple[dict[str, Any], ...] = ()
    tools: str | None = None
    untrained: tuple[int, ...] = ()

    def last(self) -> Message:
        """The answer as a message."""
        message: Message = {"role": "assistant", "content": self.answer}
        return message | ({"tool_calls": list(self.calls)} if self.calls else {})


@dataclass(frozen=True)
class Preference(Prompted):
    """Two answers to one prompt, the first better than the second.

    An answer may be several turns: ``chosen_turns`` are the messages between the prompt and the last answer
    ``chosen``. One of the assistant's that is not to be learned has ``train: False``.
    """

    chosen: str
    rejected: str
    tools: str | None = None
    chosen_turns: tuple[Message, ...] = ()
    rejected_turns: tuple[Message, ...] = ()
    chosen_calls: tuple[dict[str, Any], ...] = ()
    rejected_calls: tuple[dict[str, Any], ...] = ()

    def answers(self) -> tuple[Conversation, Conversation]:
        """The chosen and the rejected answer after the prompt, of which only the answers are learned."""
        return (
            _answered(self, self.chosen_turns, self.chosen, self.chosen_calls),
            _answered(self, self.rejected_turns, self.rejected, self.rejected_calls),
        )


@dataclass(frozen=True)
class Labelled(Prompted):
    """A prompt, an answer, and whether the answer is a good one. ``completion_turns`` precede it."""

    completion: str
    label: bool
    tools: str | None = None
    completion_turns: tuple[Message, ...] = ()
    completion_calls: tuple[dict[str, Any], ...] = ()

    def answered(self) -> Conversation:
        """The answer after the prompt, of which only the answer is learned."""
        return _answered(self, self.completion_turns, self.completion, self.completion_calls)


def _answered(
    row: Preference | Labelled, turns: tuple[Message, ...], answer: str, calls: tuple[dict[str, Any], ...]
) -> Conversation:
    messages = (*row.prompt, *turns)
    untrained = tuple(
        number
        for number, message in enumerate(messages)
        if message["role"] == "assistant" and (number < len(row.prompt) or not message.get("train", True))
    )
    return Conversation(tuple(map(without_mark, messages)), answer, calls, row.tools, untrained)


def without_mark(message: Message) -> Message:
    """The message without the mark that it is not to be learned, as chat templates are given it."""
    return {key: value for key, value in message.items() if key != "train"} if "train" in message else message


@dataclass(frozen=True)
class Prompt(Prompted):
    """A prompt without an answer; ``reference`` is its one right answer, if there is one.

    ``columns``: further columns of its row, which reward functions are given, as a JSON object.
    """

    reference: str | None = None
    tools: str | None = None
    columns: str | None = None


@dataclass(frozen=True)
class Classified(Prompted):
    """Messages and the classes that they belong to: one, or any number of them where ``several`` may apply.

    >>> Classified(({"role": "user", "content": "Warmer, please."},), ("heating",)).label
    'heating'
    """

    labels: tuple[str, ...]
    several: bool = False
    tools: str | None = None

    @property
    def label(self) -> str:
        """The classes as a text, as a model that writes them does: a JSON list where several may apply."""
        return json.dumps(self.labels, ensure_ascii=False) if self.several else self.labels[0]


Row = Text | Conversation | Preference | Labelled | Prompt | Classified
R = TypeVar("R", bound=Row)
# `json.dumps` makes one for each row.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
OPTIONAL_FIELDS = frozenset(
    (
        "untrained",
        "chosen_turns",
        "rejected_turns",
        "chosen_calls",
        "rejected_calls",
        "completion_turns",
        "completion_calls",
        "columns",
    )
)


def row_to_json(row: Row) -> str:
    """The row as JSON. Keys keep their order, since a template may render the arguments of a tool call."""
    values = {field.name: getattr(row, field.name) for field in fields(row)}
    # What most rows lack is left out where it is empty, so that their hashes do not depend on it.
    values = {name: value for name, value in values.items() if value or name not in OPTIONAL_FIELDS}
    return _ENCODER.encode(values)


def row_from_json(text: str, row_type: type[R]) -> R:
    """The row that :func:`row_to_json` wrote."""
    values: dict[str, Any] = json.loads(text)
    # JSON has no tuples: what is a list at this level is a field that has one.
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    return row_type(**values)
