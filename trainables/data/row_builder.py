"""Builds the row that a stage needs from a row's parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trainables.data.parsed_row import InvalidRow, ParsedRow, SkippedRow
from trainables.data.rows import Conversation, Labelled, Preference, Prompt, Row, Text


def build_row(parsed: ParsedRow, row_type: type) -> Row:
    """The row as ``row_type``, one of ``trainables.data.rows``.

    Raises ``InvalidRow`` if rows of this shape can't become one, ``SkippedRow`` if this one can't.

    >>> build_row(ParsedRow(text="Once upon a time"), Text)
    Text(text='Once upon a time')
    """
    return BUILDERS[row_type](parsed)


def _text(parsed: ParsedRow) -> Text:
    if parsed.text is None:
        raise InvalidRow(
            "pre-training takes running text (a column text), and these rows are requests and answers. "
            "Name the text's column: columns: {text: ...}, format: text"
        )
    return Text(parsed.text)


def _conversation(parsed: ParsedRow) -> Conversation:
    _require_messages(parsed)
    if parsed.chosen is not None:
        raise InvalidRow(
            "these rows have a chosen and a rejected answer, and this stage learns from a single one; give it rows "
            "with one answer, or use these for a preference stage"
        )
    if parsed.label is False:
        raise SkippedRow("its answer is labelled bad, and sft would learn it")
    return _with_answer(parsed)


def _preference(parsed: ParsedRow) -> Preference:
    _require_messages(parsed)
    if parsed.chosen is None or parsed.rejected is None:
        raise InvalidRow(
            "preferences need a chosen and a rejected answer, and these rows have no columns chosen and rejected"
        )
    if parsed.chosen == parsed.rejected:
        raise SkippedRow("its chosen and its rejected answer are the same")
    if parsed.answered:
        raise SkippedRow("its prompt ends with an answer")
    return Preference(parsed.messages, parsed.chosen, parsed.rejected, parsed.tools)


def _labelled(parsed: ParsedRow) -> Labelled:
    _require_messages(parsed)
    if parsed.label is None:
        raise InvalidRow("kto needs a label, true or false, and these rows have no such column")
    row = _with_answer(parsed)
    if row.calls:
        raise SkippedRow("its answer is a tool call, which can't be labelled")
    return Labelled(row.prompt, row.answer, parsed.label, row.tools)


def _prompt(parsed: ParsedRow) -> Prompt:
    _require_messages(parsed)
    if not parsed.answered:
        # The chosen answer of a pair serves as the reference.
        return Prompt(parsed.messages, parsed.chosen, parsed.tools)
    row = _with_answer(parsed)
    # An answer that only calls tools has no text to compare with.
    return Prompt(row.prompt, row.answer or None, row.tools)


def _with_answer(parsed: ParsedRow) -> Conversation:
    if not parsed.answered:
        raise SkippedRow("it ends without an answer")
    *prompt, last = parsed.messages
    if not prompt:
        raise SkippedRow("it has an answer but no request")
    return Conversation(tuple(prompt), last["content"], tuple(last.get("tool_calls", ())), parsed.tools)


def _require_messages(parsed: ParsedRow) -> None:
    if not parsed.messages:
        raise InvalidRow("this stage takes requests and answers, and these rows are running text")


BUILDERS: Mapping[type, Callable[[ParsedRow], Row]] = {
    Text: _text,
    Conversation: _conversation,
    Preference: _preference,
    Labelled: _labelled,
    Prompt: _prompt,
}
