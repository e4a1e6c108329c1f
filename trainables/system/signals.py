"""Signal handlers for the length of a block; afterwards the previous ones are back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


@contextmanager
def handling(signals: Sequence[signal.Signals], handler: Handler) -> Iterator[None]:
    """Calls ``handler`` for ``signals`` within the block; only the main thread may enter it.

    >>> with handling([signal.SIGTERM], signal.default_int_handler):
    ...     signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    True
    """
    with handlers_restored(signals):
        for number in signals:
            signal.signal(number, handler)
        yield


@contextmanager
def handlers_restored(signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Gives ``signals`` their current handlers back after the block, whoever replaced them within it.

    Does nothing outside of the main thread, where Python sets no handlers.
    """
    previous = {number: signal.getsignal(number) for number in signals}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in previous.items():
                if handler is not None:  # None: set by C code, so Python can't set it again
                    signal.signal(number, handler)
