"""Builds the row that a stage needs from a row's parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from trainables.data.formats.class_labels import parse_classes
from trainables.data.formats.turns import up_to_last_answer
from trainables.data.parsed_row import InvalidRow, ParsedRow, Remarks, SkippedRow
from trainables.data.rows import (
    Classified,
    Conversation,
    Labelled,
    Message,
    Preference,
    Prompt,
    Row,
    Text,
    without_mark,
)


def build_row(parsed: ParsedRow, row_type: type, remarks: Remarks) -> Row:
    """The row as ``row_type``, one of ``trainables.data.rows``; adds to ``remarks`` what had to be changed.

    Raises ``InvalidRow`` if rows of this shape can't become one, ``SkippedRow`` if this one can't.

    >>> build_row(ParsedRow(text="Once upon a time"), Text, [])
    Text(text='Once upon a time')
    """
    return BUILDERS[row_type](parsed, remarks)


def _text(parsed: ParsedRow, remarks: Remarks) -> Text:
    if parsed.text is None:
        raise InvalidRow(
            "pre-training takes running text (a column text), and these rows are requests and answers. "
            "Name the text's column: columns: {text: ...}, format: text"
        )
    return Text(parsed.text)


def _conversation(parsed: ParsedRow, remarks: Remarks) -> Conversation:
    _require_messages(parsed)
    _require_one_answer(parsed, "this stage learns from a single one")
    if parsed.label is False:
        raise SkippedRow("its answer is labelled bad, and sft would learn it")
    *prompt, last = up_to_last_answer(parsed.messages, remarks)
    _check_filled(last)
    untrained = tuple(number for number, message in enumerate(prompt) if not message.get("train", True))
    return Conversation(_unmarked(prompt), last["content"], _calls(last), parsed.tools, untrained)


def _preference(parsed: ParsedRow, remarks: Remarks) -> Preference:
    _require_messages(parsed)
    if parsed.chosen is None or parsed.rejected is None:
        raise InvalidRow(
            "preferences need a chosen and a rejected answer, and these rows have no columns chosen and rejected"
        )
    *chosen_turns, chosen = parsed.chosen
    *rejected_turns, rejected = parsed.rejected
    _check_filled(chosen)
    _check_filled(rejected)
    if _unmarked(parsed.chosen) == _unmarked(parsed.rejected):
        raise SkippedRow("its chosen and its rejected answer are the same")
    if not all(last.get("train", True) for last in (chosen, rejected)):
        remarks.append("the last answer of a pair is compared although it is marked not to be learned")
    return Preference(
        _unmarked(parsed.messages),
        chosen["content"],
        rejected["content"],
        parsed.tools,
        tuple(chosen_turns),
        tuple(rejected_turns),
        _calls(chosen),
        _calls(rejected),
    )


def _labelled(parsed: ParsedRow, remarks: Remarks) -> Labelled:
    _require_messages(parsed)
    if parsed.label is None:
        raise InvalidRow("kto needs a label, true or false, and these rows have no such column")
    _require_one_answer(parsed, "kto learns from one answer and its label")
    *before, last = up_to_last_answer(parsed.messages, remarks)
    _check_filled(last)
    # The label is of the last answer: where that one is not to be learned, it says nothing of those before.
    start = _last_answer(parsed.messages) if parsed.answer_start is None else parsed.answer_start
    if len(before) < start:
        raise SkippedRow("the answer that its label belongs to is marked not to be learned")
    turns = tuple(before[start:])
    return Labelled(
        _unmarked(before[:start]), last["content"], parsed.label, parsed.tools, turns, _calls(last)
    )


def _prompt(parsed: ParsedRow, remarks: Remarks) -> Prompt:
    _require_messages(parsed)
    # The chosen answer of a pair serves as the reference.
    messages = (*parsed.messages, *(parsed.chosen or ()))
    if messages[-1]["role"] != "assistant":
        return Prompt(_unmarked(messages), None, parsed.tools)
    if not messages[-1].get("train", True):
        remarks.append("the last answer is the reference although it is marked not to be learned")
    *prompt, last = up_to_last_answer(_unmarked(messages), remarks)
    # An answer that only calls tools has no text to compare with.
    return Prompt(tuple(prompt), last["content"] or None, parsed.tools)


def _classified(parsed: ParsedRow, remarks: Remarks) -> Classified:
    if parsed.text is not None:
        prompt: Sequence[Message] = ({"role": "user", "content": parsed.text},)
    else:
        _require_messages(parsed)
        _require_one_answer(parsed, "a classifier learns the label of one text")
        prompt = parsed.messages
    classes, several = parsed.classes, parsed.several
    if classes is None:
        if not parsed.answered or _calls(parsed.messages[-1]):
            raise InvalidRow(
                "a classifier needs a label for each text, and these rows have none; say which column has it: "
                "columns: {class: ...}"
            )
        *prompt, last = parsed.messages
        classes, several = parse_classes(last["content"], "the answer")
    return Classified(_unmarked(prompt), classes, several, parsed.tools)


def _last_answer(messages: Sequence[Message]) -> int:
    return max(number for number, message in enumerate(messages) if message["role"] == "assistant")


def _require_one_answer(parsed: ParsedRow, what: str) -> None:
    if parsed.chosen is not None:
        raise InvalidRow(
            f"these rows have a chosen and a rejected answer, and {what}; two texts in a list are such a pair, too. "
            "Give it rows with one answer, which is a text or a list of messages, name the one to learn "
            "(columns: {response: chosen}), or use a preference stage"
        )


def _check_filled(answer: Message) -> None:
    # Only an answer that was thoughts alone can be empty now, after data.thinking has taken these out.
    if not answer["content"].strip() and "tool_calls" not in answer:
        raise SkippedRow("its answer is empty")


def _calls(message: Message) -> tuple[dict[str, Any], ...]:
    return tuple(message.get("tool_calls", ()))


def _unmarked(messages: Iterable[Message]) -> tuple[Message, ...]:
    return tuple(map(without_mark, messages))


def _require_messages(parsed: ParsedRow) -> None:
    if not parsed.messages:
        raise InvalidRow(
            "this stage takes requests and answers, and these rows are running text; say which column is what: "
            "columns: {prompt: text, response: label}, or learn the texts with the stage pretrain"
        )


BUILDERS: Mapping[type, Callable[[ParsedRow, Remarks], Row]] = {
    Text: _text,
    Conversation: _conversation,
    Preference: _preference,
    Labelled: _labelled,
    Prompt: _prompt,
    Classified: _classified,
}
