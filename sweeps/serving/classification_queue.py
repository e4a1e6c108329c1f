"""The texts that a replica is asked to classify: how many wait or are in work, and the one thread that they take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class ClassificationQueue:
    """At most ``limit`` texts wait or are in work, more only where they are those of a single request."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0  # texts
        self._thread = ThreadPoolExecutor(1)  # one, as models aren't safe for several

    def has_room(self, texts: int) -> bool:
        """Whether a request with so many texts can be taken now."""
        return not self.count or self.count + texts <= self.limit

    async def run(self, texts: int, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises, which classifies ``texts`` texts in the thread.

        These are counted until it ends, which may be after the caller is gone: a thread can't be interrupted.
        """
        loop = asyncio.get_running_loop()
        future = self._thread.submit(work)
        self.count += texts
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release, texts))
        return await asyncio.wrap_future(future)

    def _release(self, texts: int) -> None:
        self.count -= texts
