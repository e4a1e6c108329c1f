"""From what a row says to the row that a stage needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trainables.data.parsed_row import Found, Skip, Wrong
from trainables.data.rows import Conversation, Labelled, Preference, Prompt, Row, Text


def as_row(found: Found, need: type) -> Row:
    """The row as ``need``, one of ``trainables.data.rows``.

    Raises ``Wrong`` if rows of this shape can't give that, ``Skip`` if this one can't.

    >>> as_row(Found(text="Once upon a time"), Text)
    Text(text='Once upon a time')
    """
    return CONVERTERS[need](found)


def _text(found: Found) -> Text:
    if found.text is None:
        raise Wrong(
            "pre-training takes running text (a column text), and these rows are requests and answers. "
            "Name the text's column: columns: {text: ...}, format: text"
        )
    return Text(found.text)


def _conversation(found: Found) -> Conversation:
    _needs_messages(found)
    if found.chosen is not None:
        raise Wrong(
            "these rows have a chosen and a rejected answer, and this stage learns from one; give it rows with one, "
            "or these to a preference stage"
        )
    if found.label is False:
        raise Skip("its answer is labelled bad, and sft would learn it")
    return _answered(found)


def _preference(found: Found) -> Preference:
    _needs_messages(found)
    if found.chosen is None or found.rejected is None:
        raise Wrong("preferences need a chosen and a rejected answer, and these rows have no such columns")
    if found.chosen == found.rejected:
        raise Skip("its chosen answer is the rejected one")
    return Preference(_ends_with_request(found), found.chosen, found.rejected, found.tools)


def _labelled(found: Found) -> Labelled:
    _needs_messages(found)
    if found.label is None:
        raise Wrong("kto needs a label, true or false, and these rows have no such column")
    row = _answered(found)
    if row.calls:
        raise Skip("its answer is a tool call, which can't be labelled")
    return Labelled(row.prompt, row.answer, found.label, row.tools)


def _prompt(found: Found) -> Prompt:
    _needs_messages(found)
    if not found.answered:
        return Prompt(found.messages, found.chosen, found.tools)
    row = _answered(found)
    return Prompt(row.prompt, row.answer or None, row.tools)


def _answered(found: Found) -> Conversation:
    if not found.answered:
        raise Skip("it ends without an answer")
    *prompt, last = found.messages
    if not prompt:
        raise Skip("it has an answer to nothing")
    return Conversation(tuple(prompt), last["content"], tuple(last.get("tool_calls", ())), found.tools)


def _ends_with_request(found: Found) -> tuple[dict[str, object], ...]:
    if found.answered:
        raise Skip("its prompt ends with an answer")
    return found.messages


def _needs_messages(found: Found) -> None:
    if not found.messages:
        raise Wrong("this stage takes requests and answers, and these rows are running text")


CONVERTERS: Mapping[type, Callable[[Found], Row]] = {
    Text: _text,
    Conversation: _conversation,
    Preference: _preference,
    Labelled: _labelled,
    Prompt: _prompt,
}
