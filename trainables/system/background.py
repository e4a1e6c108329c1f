"""Something done again and again in a thread beside other work, for as long as that takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(do: Callable[[], object], seconds: float) -> Iterator[None]:
    """Calls ``do`` every so many seconds meanwhile, until it returns ``False``.

    The block ends once a call that is under way has ended, too.
    """
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(seconds) and do() is not False:
            pass

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
