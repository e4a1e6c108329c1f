"""Calls that are made periodically in a background thread, and calls that are made at most every so often."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import ParamSpec

from trainables.system.error_place import describe
from trainables.system.redaction import redacted

P = ParamSpec("P")


@contextmanager
def call_periodically(function: Callable[[], object], seconds: float) -> Iterator[None]:
    """Calls ``function`` every ``seconds`` in a background thread while the block runs.

    The first call comes after ``seconds``; no more follow once ``function`` has returned ``False``. A call that is
    under way when the block ends is waited for. An error of a call is printed, once, and the calls go on: what they
    do must not end unnoticed while the block still relies on it.
    """
    over = threading.Event()
    printed: set[str] = set()

    def call() -> object:
        try:
            return function()
        except Exception as error:
            if (text := redacted(describe(error))) not in printed:
                printed.add(text)
                print(f"a task in the background failed and is tried again: {text}", file=sys.stderr)
            return True

    def run() -> None:
        # `wait` returns False when the time is up, and True once the block has ended.
        while not over.wait(seconds) and call() is not False:
            pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Throttle:
    """Lets something happen at most once in ``seconds``.

    The first time is due at once or, with ``wait_first``, ``seconds`` after construction.

    >>> refresh = Throttle(60.0)
    >>> refresh.due(), refresh.due()
    (True, False)
    """

    def __init__(self, seconds: float, *, wait_first: bool = False) -> None:
        self.seconds = seconds
        self._last = monotonic() if wait_first else None

    def due(self) -> bool:
        """Whether the interval is over; if so, the next one begins now."""
        now = monotonic()
        if self._last is not None and now - self._last < self.seconds:
            return False
        self._last = now
        return True

    def limit(self, function: Callable[P, object]) -> Callable[P, None]:
        """``function``, except that calls before the interval is over do nothing."""

        def limited(*args: P.args, **kwargs: P.kwargs) -> None:
            if self.due():
                function(*args, **kwargs)

        return limited
