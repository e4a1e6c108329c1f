"""Progress of long work, reported to whoever shows it.

>>> with progress_reported_to(lambda task, done, total: print(task, done, total)):
...     report_progress("reading rows.jsonl", 4096)
reading rows.jsonl 4096 None
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ProgressListener = Callable[[str, int, int | None], None]  # (task, units done, units in total if known)

_LISTENER: ContextVar[ProgressListener | None] = ContextVar("listener", default=None)


@contextmanager
def progress_reported_to(listener: ProgressListener) -> Iterator[None]:
    """Calls ``listener`` with the progress of everything that is done within the block."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def has_listener() -> bool:
    """Whether progress is reported to somebody already."""
    return _LISTENER.get() is not None


def report_progress(task: str, done: int, total: int | None = None) -> None:
    """Reports that ``done`` of ``total`` units of a task are done; without a listener it does nothing."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(task, done, total)
