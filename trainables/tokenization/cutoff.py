"""What a cutoff leaves of prompts and answers, by LLaMA-Factory's rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """The tokens of one answer (``target``), and those between the previous answer and it (``source``)."""

    source: list[int]
    target: list[int]

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


def kept_as_one_answer(turns: Sequence[Turn], room: int) -> list[Turn]:
    """The turns whose first source is cut already, with ``room`` for all that follows it as if it were one answer."""
    first, *later = turns
    kept = [Turn(first.source, first.target[:room])]
    for turn in later:
        room -= len(kept[-1].target)
        # Of a later source, a part without a token of its answer is of no use.
        if room <= len(turn.source):
            break
        room -= len(turn.source)
        kept.append(Turn(turn.source, turn.target[:room]))
    return kept


def fitting_turns(turns: Iterable[Turn], cutoff: int) -> Iterator[Turn]:
    """The turns in order, up to the first that does not fit into what remains of the cutoff.

    Its answer loses its end; where its share would not hold its source, it is left out, since an answer is never
    learned behind half of what precedes it.
    """
    for turn in turns:
        source, target = split_cutoff(len(turn.source), len(turn.target), cutoff) if cutoff > 0 else (0, 0)
        if target < 1 or source < len(turn.source):
            return
        yield Turn(turn.source, turn.target[:target])
        cutoff -= source + target
