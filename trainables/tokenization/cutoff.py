"""What a cutoff leaves of prompts and answers, by LLaMA-Factory's rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """The tokens of one answer (``target``), and those between the previous answer and it (``source``)."""

    source: list[int]
    target: list[int]

    def cut(self, cutoff: int) -> Turn:
        """The turn shortened to ``cutoff`` tokens."""
        source, target = split_cutoff(len(self.source), len(self.target), cutoff)
        return Turn(self.source[:source], self.target[:target])

    def __len__(self) -> int:
        return len(self.source) + len(self.target)


def split_cutoff(source: int, target: int, cutoff: int) -> tuple[int, int]:
    """How many tokens of the prompt and of the answer to keep, ``cutoff`` together (LLaMA-Factory's rule).

    If one of the two is shorter than half the cutoff, it is kept whole; otherwise both are cut in proportion.

    >>> split_cutoff(3000, 2000, 1000), split_cutoff(1000, 100, 1000), split_cutoff(10, 10, 1000)
    ((600, 400), (900, 100), (10, 10))
    """
    if target * 2 < cutoff:
        max_target = cutoff
    elif source * 2 < cutoff:
        max_target = cutoff - source
    else:
        # At least one: a row without an answer has no loss.
        max_target = max(1, int(cutoff * target / (source + target)))
    target = min(max_target, target)
    return min(max(cutoff - target, 0), source), target


def cut_as_one_answer(turns: Sequence[Turn], cutoff: int) -> list[Turn]:
    """The turns cut to ``cutoff`` tokens, what follows the first source as if it were one answer to it."""
    first, *later = turns
    following = len(first.target) + sum(map(len, later))
    source, remaining = split_cutoff(len(first.source), following, cutoff)
    kept: list[Turn] = []
    for turn in (Turn(first.source[:source], first.target), *later):
        # The first source is cut already; of any other, a part without a token of its answer is of no use.
        room = remaining - (len(turn.source) if kept else 0)
        if room <= 0:
            break
        kept.append(Turn(turn.source, turn.target[:room]))
        remaining = room - len(turn.target)
    return kept


def fitting_turns(turns: Iterable[Turn], cutoff: int) -> Iterable[Turn]:
    """The turns in order, each cut to what remains of the cutoff."""
    for turn in turns:
        if cutoff <= 0:
            return
        kept = turn.cut(cutoff)
        cutoff -= len(kept)
        yield kept
