"""How far a long piece of work is, told to whoever wants to show it.

>>> with watched(lambda what, done, total: print(what, done, total)):
...     tell("reading rows.jsonl", 4096)
reading rows.jsonl 4096 None
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watcher = Callable[[str, int, int | None], None]  # what is done, how much of it, of how much if that is known

_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Has ``watcher`` told of all that is done within the block."""
    before = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(before)


def tell(what: str, done: int, total: int | None = None) -> None:
    """Says that ``done`` (of ``total``) is done; nobody need listen."""
    watcher = _WATCHER.get()
    if watcher is not None:
        watcher(what, done, total)
