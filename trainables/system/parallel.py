"""Much work of one kind on all cores, in order and in bounded memory.

Little work is done where it is asked for: starting a process takes longer.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any, TypeVar

from trainables.system.machine import cores

A = TypeVar("A")
B = TypeVar("B")

ALONE = 8  # pieces of work up to which no process is started
AHEAD = 2  # pieces for each process that wait, or whose results wait

_work: Callable[[Any], Any] | None = None  # what this process does, in one that was started for it


def ordered(work: Callable[[A], B], pieces: Iterable[A], alone: int = ALONE) -> Iterator[B]:
    """``work`` of each piece, in their order; on all cores when there are more than ``alone`` of them.

    ``work``, the pieces and the results must pickle; ``work`` travels once to each process. What it raises is raised
    here, and what was not begun isn't.
    """
    pieces = iter(pieces)
    first = list(islice(pieces, alone + 1))
    if len(first) <= alone or cores() == 1:
        yield from map(work, chain(first, pieces))
        return
    # Spawned, not forked: a fork copies locks that other threads hold.
    with ProcessPoolExecutor(cores(), get_context("spawn"), initializer=_begin, initargs=(work,)) as pool:
        try:
            yield from _in_order(pool, chain(first, pieces))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, pieces: Iterable[Any]) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    for piece in pieces:
        waiting.append(pool.submit(_do, piece))
        if len(waiting) > AHEAD * cores():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begin(work: Callable[[Any], Any]) -> None:
    global _work
    # One process a core is enough of them; a tokenizer would start a thread for each besides.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _work = work


def _do(piece: Any) -> Any:
    assert _work is not None
    return _work(piece)
