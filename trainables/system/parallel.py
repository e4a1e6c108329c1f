"""Runs a function on many items in parallel processes, with results in order and bounded memory.

A few items are processed in this process, since starting others takes longer.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any, TypeVar

from trainables.system.machine import cpu_cores

A = TypeVar("A")
B = TypeVar("B")

SERIAL_ITEMS = 8  # up to so many items no process is started
QUEUED_PER_PROCESS = 2  # items per process that wait for it, or whose results wait to be used

_function: Callable[[Any], Any] | None = None  # of a worker process, set when it starts


def map_in_order(
    function: Callable[[A], B], items: Iterable[A], serial_items: int = SERIAL_ITEMS
) -> Iterator[B]:
    """``function`` of each item, in the items' order; on all cores if there are more than ``serial_items``.

    ``function``, items and results must be picklable; ``function`` is sent once to each process. The first exception
    is raised here, and items that no process has begun are dropped.

    ``ProcessPoolExecutor.map`` would read all items at once, and send ``function`` (a tokenizer, say) with each.
    """
    items = iter(items)
    # One more than the limit shows whether there are more, without reading all of them.
    first = list(islice(items, serial_items + 1))
    if len(first) <= serial_items or cpu_cores() == 1:
        yield from map(function, chain(first, items))
        return
    # Spawned, not forked: a fork copies locks that other threads hold.
    context = get_context("spawn")
    with ProcessPoolExecutor(cpu_cores(), context, initializer=_start, initargs=(function,)) as pool:
        try:
            yield from _results(pool, chain(first, items))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _results(pool: ProcessPoolExecutor, items: Iterable[Any]) -> Iterator[Any]:
    queue: deque[Future[Any]] = deque()  # in the items' order
    for item in items:
        queue.append(pool.submit(_call, item))
        # The oldest is waited for first: results stay in order, and the queue stays short.
        if len(queue) > QUEUED_PER_PROCESS * cpu_cores():
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()


def _start(function: Callable[[Any], Any]) -> None:
    global _function
    # There is a process for each core already; a tokenizer would start a thread for each core in every one of them.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _function = function


def _call(item: Any) -> Any:
    assert _function is not None
    return _function(item)
