"""Whether answers are so short that the right one has hardly a second wording, so that exact match measures them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainables.data.thinking import without_thinking

SHORT_CHARACTERS = 40  # on one line: a class, a name, a number, a command
SHORT_SHARE = 0.9  # of the answers that are looked at
LOOKED_AT = 1_000  # held-out rows


def share_of_short_answers(rows: Sequence[Any]) -> float:
    """The share of last answers, thoughts aside, that have at most :data:`SHORT_CHARACTERS` on one line; 0 for no rows.

    An answer that calls tools counts as long.

    >>> from trainables.data.rows import Conversation
    >>> share_of_short_answers([Conversation((), "positive"), Conversation((), "It is. Because ...\\nSo it is.")])
    0.5
    """
    answers = [(without_thinking(row.answer), row.calls) for row in rows]
    short = [
        not calls and len(answer) <= SHORT_CHARACTERS and "\n" not in answer for answer, calls in answers
    ]
    return sum(short) / len(short) if short else 0.0


def are_short(rows: Sequence[Any]) -> bool:
    """Whether at least :data:`SHORT_SHARE` of the rows' last answers are short."""
    return share_of_short_answers(rows) >= SHORT_SHARE
