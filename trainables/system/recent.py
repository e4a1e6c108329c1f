"""A small cache of what was computed last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Keeps the ``size`` most recently used values by their keys.

    ``functools.lru_cache`` makes the key of all arguments; here a value may depend on more than its key says.

    >>> squares = Recent[int, int](size=8)
    >>> squares.get(3, lambda: 3 * 3)
    9
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()  # the most recently used last
        self._lock = Lock()

    def get(self, key: Key, compute: Callable[[], Value]) -> Value:
        """The value of ``key``; what ``compute`` returns if there is none yet. What it raises is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        # Not under the lock: it may take minutes, and may use this cache itself.
        value = compute()
        with self._lock:
            # Another thread may have computed it in the meantime; then all share the first value.
            value = self._values.setdefault(key, value)
            self._values.move_to_end(key)
            while len(self._values) > self.size:
                self._values.popitem(last=False)
            return value

    def clear(self) -> None:
        """Drops all values."""
        with self._lock:
            self._values.clear()
