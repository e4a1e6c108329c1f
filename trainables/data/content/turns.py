"""The turns of a row as they are compared: by their texts, whatever their spelling in case, width and white space."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Sequence

from trainables.data.rows import Classified, Conversation, Labelled, Message, Preference, Prompt, Row, Text

# A user's turn, and the answer to it; None where none follows.
Exchange = tuple[str, str | None]


def normalized(text: str) -> str:
    """The text in Unicode's form NFKC, casefolded, with one space for each run of white space.

    Composed again after folding, as Unicode defines caseless matching of compatible texts (The Unicode Standard,
    section 3.13, D146).

    >>> normalized(" What\\u00a0IS it?\\n"), normalized("Straße"), normalized("ｆｕｌｌ")
    ('what is it?', 'strasse', 'full')
    """
    if text.isascii():
        return " ".join(text.lower().split())
    composed = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(composed.split())


def opening_key(row: Row) -> bytes:
    """The SHA-256 of what a row opens with: its first user turn, or running text as a whole; both normalized.

    A prompt without a turn of the user is taken as a whole.
    """
    return _sha256(normalized(_opening(row)))


def group_key(value: object) -> bytes:
    """The SHA-256 of the value by which a row belongs to others; a number is the text of its digits."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _sha256(text)


def exchanges(row: Row) -> Iterator[Exchange]:
    """The user's turns of a row, each with the answer that follows it, normalized; those of each side of a pair.

    Running text is one turn without an answer.
    """
    for messages in _conversations(row):
        turn: str | None = None
        for message in messages:
            if message["role"] == "user":
                if turn is not None:
                    yield turn, None
                turn = normalized(message["content"])
            elif message["role"] == "assistant" and turn is not None:
                yield turn, normalized(_said(message))
                turn = None
        if turn is not None:
            yield turn, None


def last_exchanges(row: Row) -> list[Exchange]:
    """The last of :func:`exchanges`; of a pair, that of each side."""
    sides = [list(exchanges(side)) for side in row.answers()] if isinstance(row, Preference) else []
    return [side[-1] for side in sides or [list(exchanges(row))] if side]


def texts(row: Row) -> Iterator[str]:
    """The texts of a row but for system prompts, each once, normalized."""
    seen = dict.fromkeys(
        message["content"]
        for messages in _conversations(row)
        for message in messages
        if message["role"] != "system"
    )
    yield from map(normalized, seen)


def _opening(row: Row) -> str:
    if isinstance(row, Text):
        return row.text
    messages = row.prompt or (row.chosen_turns if isinstance(row, Preference) else ())
    first = next((message["content"] for message in messages if message["role"] == "user"), None)
    return first if first is not None else json.dumps(list(messages), ensure_ascii=False)


def _conversations(row: Row) -> Iterator[Sequence[Message]]:
    if isinstance(row, Text):
        yield [{"role": "user", "content": row.text}]
    elif isinstance(row, Preference):
        for answer in row.answers():
            yield _messages(answer)
    elif isinstance(row, Labelled):
        yield _messages(row.answered())
    elif isinstance(row, Prompt):
        reference = [] if row.reference is None else [{"role": "assistant", "content": row.reference}]
        yield [*row.prompt, *reference]
    elif isinstance(row, Classified):
        yield [*row.prompt, {"role": "assistant", "content": row.label}]
    else:
        yield _messages(row)


def _messages(row: Conversation) -> list[Message]:
    return [*row.prompt, row.last()]


def _said(message: Message) -> str:
    calls = message.get("tool_calls")
    return message["content"] + (json.dumps(calls, ensure_ascii=False) if calls else "")


def _sha256(text: str) -> bytes:
    # JSON may hold half of a surrogate pair, which no other encoder of UTF-8 takes.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
