"""Puts the messages of a conversation in an order that a chat template can render, where there is one way to do it."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.data.formats.call_results import in_order_of_calls
from trainables.data.parsed_row import Remarks, SkippedRow
from trainables.data.rows import Message

# Which roles may follow a message once neighbours are joined. None is the beginning, `call` an answer with tool calls.
# A result may follow a text, too: some files write calls as texts, such as Hermes' <tool_call>.
ROLES_AFTER = {
    None: {"system", "user", "assistant"},
    "system": {"user", "assistant"},
    "user": {"assistant"},
    "assistant": {"user", "tool"},
    "call": {"tool"},
    "tool": {"tool", "assistant", "user"},
}
BETWEEN = "\n\n"  # between texts that are joined


def arranged(messages: Sequence[Message], remarks: Remarks, system: str = "") -> tuple[Message, ...]:
    """The messages with neighbours of one role joined; ``remarks`` say what was changed.

    ``system``: a system text from a column of its own. A greeting of the assistant before the first question is
    context and gets ``train: False``. Raises ``SkippedRow`` for an order of turns that can be read in several ways.
    """
    turns: list[Message] = []
    given = _with_system(_without_empty_end(messages, remarks), system, remarks)
    if not given:
        raise SkippedRow("it has no messages")
    for number, message in enumerate(given, start=1):
        _check_content(number, message)
        following = given[number] if number < len(given) else None
        if turns and (joined := _joined(turns[-1], message, following, remarks)):
            turns[-1] = joined
        else:
            _check_order(number, turns[-1] if turns else None, message)
            turns.append(message)
    return tuple(_with_greeting_as_context(in_order_of_calls(turns, remarks), remarks))


def _without_empty_end(messages: Sequence[Message], remarks: Remarks) -> list[Message]:
    kept = list(messages)
    while len(kept) > 1 and kept[-1]["role"] == "user" and not kept[-1]["content"].strip():
        kept.pop()
        remarks.append("an empty message of the user at the end is left off")
    return kept


def _with_system(messages: list[Message], system: str, remarks: Remarks) -> list[Message]:
    if not system or not messages:
        return messages
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": system}, *messages]
    # A system message in the list takes precedence over the column.
    if messages[0]["content"].strip() != system.strip():
        remarks.append("the system column is left aside, since the messages have a system text of their own")
    return messages


def _check_content(number: int, message: Message) -> None:
    role = message["role"]
    if role in ("user", "assistant") and not message["content"].strip() and "tool_calls" not in message:
        raise SkippedRow(f"message {number}, the {role}'s, is empty")


def _check_order(number: int, previous: Message | None, message: Message) -> None:
    before = _kind(previous) if previous else None
    if message["role"] not in ROLES_AFTER[before] or (before in (None, "system") and "tool_calls" in message):
        previous_message = "a tool call" if before == "call" else f"one of role {before}"
        position = f"follows {previous_message}" if before else "comes first"
        what = f"message {number} of role {message['role']}"
        if "tool_calls" in message:
            what += " with a tool call"
        raise SkippedRow(f"odd turn order: {what} {position}")


def _kind(message: Message) -> str:
    return "call" if "tool_calls" in message else str(message["role"])


def _joined(first: Message, second: Message, following: Message | None, remarks: Remarks) -> Message | None:
    """Two neighbours as one message; ``None`` where they are no neighbours of one role."""
    role = second["role"]
    if first["role"] != role or role == "tool":
        return None
    if role == "assistant":
        if first.get("train", True) != second.get("train", True):
            raise SkippedRow("odd turn order: two answers in a row, of which one is not to be learned")
        if "tool_calls" in first and "tool_calls" not in second:
            if following is None or following["role"] != "tool":
                return None
            remarks.append("a text between a call and its result is put before the call")
        elif "tool_calls" in second:
            what = "calls" if "tool_calls" in first else "a text and a call"
            remarks.append(f"{what} in a row are joined to one answer")
        else:
            remarks.append("two messages of the assistant in a row are joined")
    else:
        name = "two system messages" if role == "system" else "two messages of the user"
        remarks.append(f"{name} in a row are joined")
    return _joined_contents(first, second)


def _joined_contents(first: Message, second: Message) -> Message:
    content = BETWEEN.join(text for text in (first["content"], second["content"]) if text.strip())
    calls = [*first.get("tool_calls", ()), *second.get("tool_calls", ())]
    return {**first, "content": content} | ({"tool_calls": calls} if calls else {})


def _with_greeting_as_context(turns: list[Message], remarks: Remarks) -> list[Message]:
    start = 1 if turns[0]["role"] == "system" else 0
    # Without any question, the answer is one to the system text, and no greeting.
    if not any(turn["role"] == "user" for turn in turns) or turns[start]["role"] != "assistant":
        return turns
    remarks.append("a greeting of the assistant before the first question is context and not learned")
    return [*turns[:start], {**turns[start], "train": False}, *turns[start + 1 :]]


def up_to_last_answer(messages: tuple[Message, ...], remarks: Remarks) -> tuple[Message, ...]:
    """The messages through the last answer that is to be learned. Raises ``SkippedRow`` where there is none."""
    answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    learned = [number for number in answers if messages[number].get("train", True)]
    if not answers:
        raise SkippedRow("it ends without an answer")
    if answers[0] == 0 and not any(message["role"] == "user" for message in messages):
        raise SkippedRow("odd turn order: message 1 of role assistant comes first")
    if not learned:
        raise SkippedRow("none of its answers is to be learned")
    if learned[-1] < len(messages) - 1:
        what = (
            "answers that are not to be learned"
            if answers[-1] > learned[-1]
            else "messages without an answer"
        )
        remarks.append(f"{what} at the end are left off")
    return messages[: learned[-1] + 1]
