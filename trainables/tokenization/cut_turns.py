"""The turns of a conversation in as many tokens as the cutoff allows, and what that takes from them, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.tokenization.cutoff import Turn, fitting_turns, split_cutoff
from trainables.tokenization.remarks import ANSWER_END, LAST_TURNS
from trainables.tokenization.rendered_conversation import RenderedConversation
from trainables.tokenization.short_prompt import shorten_prompt


def cut_turn(
    conversation: RenderedConversation, answer: int, turn: Turn, cutoff: int, most_prompt: int | None = None
) -> tuple[Turn, tuple[str, ...]]:
    """The turn of message number ``answer`` with all that precedes it, in ``cutoff`` tokens, and what that takes."""
    source, cuts = cut_source(conversation, answer, turn.source, len(turn.target), cutoff, most_prompt)
    kept = Turn(source, turn.target[: cutoff - len(source)])
    return kept, (*cuts, *lost_ends([turn], [kept]))


def cut_source(
    conversation: RenderedConversation,
    answer: int,
    source: list[int],
    following: int,
    cutoff: int,
    most: int | None,
) -> tuple[list[int], tuple[str, ...]]:
    """The prompt of message number ``answer`` in its share of the cutoff; ``following`` tokens are behind it."""
    share, _ = split_cutoff(len(source), following, cutoff)
    share = share if most is None else min(share, most)
    if len(source) <= share:
        return source, ()
    shorter = shorten_prompt(conversation, answer, source, share)
    return shorter.ids, shorter.remarks


def lost_ends(turns: Sequence[Turn], kept: Sequence[Turn]) -> tuple[str, ...]:
    """What the cutoff took from the end: of an answer, or whole turns."""
    shorter = any(len(left.target) < len(turn.target) for turn, left in zip(turns, kept, strict=False))
    return (*((ANSWER_END,) if shorter else ()), *((LAST_TURNS,) if len(kept) < len(turns) else ()))


def cut_turns(
    conversation: RenderedConversation, answers: Sequence[int], turns: Sequence[Turn], cutoff: int
) -> tuple[list[Turn], tuple[str, ...]]:
    """The turns of these answers in ``cutoff`` tokens, the first ones first, and remarks on what that takes."""
    first, cuts = cut_turn(conversation, answers[0], turns[0], cutoff)
    if cuts:
        return [first], (*cuts, *lost_ends(turns[1:], []))
    kept = list(fitting_turns(turns, cutoff))
    return kept, lost_ends(turns, kept)
