"""What a run says of one claim by itself, before it is known how many claims there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reports.analysis.group import Group
from reports.analysis.row import Row

Interval = tuple[float | None, float | None]


@dataclass(frozen=True)
class Figure:
    """An estimate that a claim is about, with its 95 % interval; an end is ``None`` where it is not bounded.

    ``kind``: ``difference`` of two qualities in ``unit``, a ``share`` of memory, or a ``ratio``.
    """

    name: str
    kind: str
    value: float
    interval: Interval
    unit: str | None = None


@dataclass(frozen=True)
class OpenDifference:
    """A difference that is not settled, and how far a gain (the first over the second, in the direction that is better)
    lies on the side of the claim: what has to be told from 0.
    """

    group: Group
    row: Row
    against: Row
    distance: Callable[[float], float]


@dataclass(frozen=True)
class Judgement:
    """``p_supported``: one-sided, that it comes out so although the claim is false; ``p_contradicted``: although it is
    true. ``obstacle``: why nothing can be said, whatever the figures are, with what to do.

    ``tested``: whether the outcome is of a test; not where measured memory alone decides. ``open``: what more seeds and
    rows would settle; ``further``: what else would, in words, by the one-sided error at which it has to be shown.
    """

    figures: tuple[Figure, ...] = ()
    p_supported: float = 1.0
    p_contradicted: float = 1.0
    obstacle: str | None = None
    open: OpenDifference | None = None
    further: Callable[[float], str] | None = None
    tested: bool = True


def not_judged(obstacle: str, *figures: Figure) -> Judgement:
    """A claim of which nothing can be said."""
    return Judgement(figures, obstacle=obstacle)
