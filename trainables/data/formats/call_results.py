"""Puts the results of several calls in the order of these calls, by their ids: chat templates go by the order alone."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.data.parsed_row import Remarks
from trainables.data.rows import Message

REORDERED = "the results of calls are put in the order of their calls, by tool_call_id"
UNKNOWN = "a result has a tool_call_id that none of the calls before it has, and is taken as it stands"
MISSING = "a call has no result, although others beside it have one"


def in_order_of_calls(messages: Sequence[Message], remarks: Remarks) -> list[Message]:
    """The messages with the results that follow an answer's calls in the order of these calls.

    >>> calls = {"role": "assistant", "content": "", "tool_calls": [{"id": "a"}, {"id": "b"}]}
    >>> second, first = ({"role": "tool", "content": "", "tool_call_id": name} for name in "ba")
    >>> in_order_of_calls([calls, second, first], []) == [calls, first, second]
    True
    """
    ordered: list[Message] = []
    place = 0
    while place < len(messages):
        ordered.append(messages[place])
        place += 1
        if calls := messages[place - 1].get("tool_calls"):
            end = place
            while end < len(messages) and messages[end]["role"] == "tool":
                end += 1
            ordered += _ordered(messages[place:end], [str(call.get("id", "")) for call in calls], remarks)
            place = end
    return ordered


def _ordered(results: Sequence[Message], ids: list[str], remarks: Remarks) -> list[Message]:
    given = [str(result.get("tool_call_id", "")) for result in results]
    if not any(ids) or not any(given):
        if 0 < len(results) < len(ids):
            remarks.append(MISSING)
        return list(results)
    if any(identity and identity not in ids for identity in given):
        remarks.append(UNKNOWN)
        return list(results)
    if set(ids) - set(given) and all(given):
        remarks.append(MISSING)
    # A result without an id stays with the one before it.
    places: list[int] = []
    for identity in given:
        places.append(ids.index(identity) if identity else places[-1] if places else 0)
    order = sorted(range(len(results)), key=places.__getitem__)
    if order != list(range(len(results))):
        remarks.append(REORDERED)
    return [results[number] for number in order]
