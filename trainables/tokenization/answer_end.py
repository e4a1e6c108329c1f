"""The token at which generation stops, at the end of each answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainables.templates.control_tokens import end_tokens
from trainables.templates.settings import setting
from trainables.tokenization.cutoff import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def with_end(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase) -> tuple[list[Turn], tuple[str, ...]]:
    """The turns, each of which ends with a token at which generation stops, and a remark if one had to be added.

    Where the template writes it only when another message follows, it becomes part of the answer; the last answer gets
    the tokenizer's. Not if ``data.end`` is ``keep``, and not if the tokenizer has no end token.
    """
    ends, ended = end_tokens(tokenizer), list(turns)
    if setting(tokenizer, "end") == "keep":
        return ended, ()
    if not ends:
        return ended, ("the answer has no end, as the tokenizer names no token at which generation stops",)
    added = unfinished = False
    for number, turn in enumerate(ended):
        if ends_with_any(turn.target, ends, tokenizer):
            continue
        following = ended[number + 1] if number + 1 < len(ended) else None
        if following is not None and following.source and following.source[0] in ends:
            ended[number] = Turn(turn.source, [*turn.target, following.source[0]])
            ended[number + 1] = Turn(following.source[1:], following.target)
        elif following is None and tokenizer.eos_token_id is not None:
            ended[number] = Turn(turn.source, [*turn.target, tokenizer.eos_token_id])
            added = True
        else:
            unfinished = True
    endless = "the chat template ends the answer without a token at which generation stops"
    last = (f"{endless}, and {tokenizer.eos_token} is added (data.end: keep leaves it out)",) if added else ()
    return ended, (*last, *(("an earlier answer has no end",) if unfinished else ()))


def ends_with_any(target: Sequence[int], ends: frozenset[int], tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether one of the ``ends`` is the last token of an answer, apart from white space."""
    for token in reversed(target):
        if token in ends:
            return True
        if str(tokenizer.decode([token])).strip():
            return False
    return False
