"""Divides answers that are whole conversations, or parts of them, into the prompt and what answers it."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.data.formats.turns import arranged, up_to_last_answer
from trainables.data.parsed_row import InvalidRow, Remarks, SkippedRow
from trainables.data.rows import Message, without_mark

Messages = tuple[Message, ...]
NO_PROMPT = (
    "chosen and rejected are texts, and there is no prompt that they answer. Give it in a column of its own (for other "
    "names: columns: {prompt: ...}), or write chosen and rejected as lists of messages that both begin with it"
)


class MissingPrompt(InvalidRow):
    """Two answers without anything that they answer."""


def divide_pair(
    prompt: Messages, chosen: Sequence[Message], rejected: Sequence[Message], remarks: Remarks
) -> tuple[Messages, Messages, Messages]:
    """The prompt, and the messages that answer it on either side.

    A side that begins with an answer goes on from ``prompt``; one that begins otherwise is a whole conversation. What
    both sides share at their beginning is the prompt. Raises ``SkippedRow`` where they share no prompt, and
    ``MissingPrompt`` for two texts without one.
    """
    _check_open(prompt)
    if not any(message["role"] == "user" for message in prompt):
        _check_for_prompt(chosen, rejected)
    sides = _whole_conversations(prompt, chosen, rejected, remarks)
    shared = _shared_length(*sides)
    if shared == min(map(len, sides)):
        if len(sides[0]) != len(sides[1]):
            raise SkippedRow("one of its answers is the beginning of the other")
        shared -= 1  # the same on both sides: the caller leaves the row out
    if not all(side[shared]["role"] == "assistant" for side in sides):
        role = next(side[shared]["role"] for side in sides if side[shared]["role"] != "assistant")
        raise SkippedRow(
            f"chosen and rejected differ in a message of role {role}, so they answer different prompts"
        )
    common = sides[0][:shared]
    _check_prompt(prompt, common, remarks)
    return common, sides[0][shared:], sides[1][shared:]


def divide_answer(prompt: Messages, answer: Sequence[Message], remarks: Remarks) -> tuple[Messages, int]:
    """A whole conversation, and the number of the message with which ``answer`` begins in it.

    Raises ``SkippedRow`` where the answer is a conversation that does not hold the prompt.
    """
    _check_open(prompt)
    if len(answer) == 1 and answer[0]["role"] == "assistant" and prompt[-1]["role"] == "user":
        return (*prompt, *answer), len(prompt)  # as most rows are: nothing to arrange
    if _begins_with_answer(answer):
        whole = arranged((*prompt, *answer), remarks)
        return whole, min(len(prompt), len(whole) - 1)
    whole = arranged(answer, remarks, _system(prompt))
    end = _end_of(prompt, whole)
    if end is None:
        raise SkippedRow("its answer is a conversation that does not hold its prompt")
    return whole, min(end, len(whole) - 1)


def _check_open(prompt: Messages) -> None:
    if prompt and prompt[-1]["role"] == "assistant":
        raise SkippedRow("its prompt ends with an answer")


def _check_for_prompt(chosen: Sequence[Message], rejected: Sequence[Message]) -> None:
    if all(message["role"] == "assistant" for message in (*chosen, *rejected)):
        raise MissingPrompt(NO_PROMPT)


def _whole_conversations(
    prompt: Messages, chosen: Sequence[Message], rejected: Sequence[Message], remarks: Remarks
) -> tuple[Messages, Messages]:
    whole = [
        None if _begins_with_answer(side) else _whole((), side, prompt, remarks)
        for side in (chosen, rejected)
    ]
    # Beside a whole conversation, an answer alone is another one to the same last question.
    before = [prompt if other is None else other[: _last_answer(other)] for other in reversed(whole)]
    return (
        whole[0] or _whole(before[0], chosen, prompt, remarks),
        whole[1] or _whole(before[1], rejected, prompt, remarks),
    )


def _whole(before: Messages, side: Sequence[Message], prompt: Messages, remarks: Remarks) -> Messages:
    whole = arranged((*before, *side), remarks, _system(prompt))
    answered = up_to_last_answer(tuple(without_mark(message) for message in whole), remarks)
    return whole[: len(answered)]


def _begins_with_answer(messages: Sequence[Message]) -> bool:
    # A greeting that opens a whole conversation is followed by a question, which no answer of one turn is.
    return messages[0]["role"] == "assistant"


def _last_answer(messages: Messages) -> int:
    return max(number for number, message in enumerate(messages) if message["role"] == "assistant")


def _system(prompt: Messages) -> str:
    return str(prompt[0]["content"]) if prompt and prompt[0]["role"] == "system" else ""


def _shared_length(first: Messages, second: Messages) -> int:
    length = 0
    while length < min(len(first), len(second)) and without_mark(first[length]) == without_mark(
        second[length]
    ):
        length += 1
    return length


def _check_prompt(prompt: Messages, common: Messages, remarks: Remarks) -> None:
    """Whether what both sides share holds the prompt's own column, and a remark if it is more than that."""
    if _end_of(prompt, common) is None:
        raise SkippedRow("its prompt is not among the messages that chosen and rejected share")
    if not any(message["role"] == "user" for message in prompt):
        remarks.append("the prompt is what chosen and rejected share at their beginning")
    elif len(common) > len(prompt):
        remarks.append(
            "chosen and rejected share more messages than the prompt has, and all of these are the prompt"
        )


def _end_of(prompt: Messages, messages: Messages) -> int | None:
    """Where the prompt ends in the messages, system texts and white space aside; ``None`` if they don't hold it."""
    wanted = [_comparable(message) for message in prompt if message["role"] != "system"]
    has = [_comparable(message) for message in messages]
    for start in range(len(has) - len(wanted) + 1):
        if has[start : start + len(wanted)] == wanted:
            return start + len(wanted)
    return None


def _comparable(message: Message) -> tuple[str, str, str]:
    return message["role"], message["content"].strip(), repr(message.get("tool_calls"))
