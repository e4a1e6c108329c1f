"""Slots without a trial: kept while the sweep may soon have one for them, as a new one takes seconds to start."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from ray.tune.execution import tune_controller
from ray.tune.utils.object_cache import _ObjectCache

KEEP_SECONDS = 300.0  # a slot without a trial holds a worker's cores, memory and GPU


class IdleSlots(_ObjectCache):
    """Tune's cache of actors that have no trial, by what they request.

    Tune itself keeps one at the most while no trial is to start, and ends the others: at a rung, where trials wait for
    one another, all slots but one would begin anew after it. Here each is kept for :data:`KEEP_SECONDS`, unless a trial
    of another size waits for what it holds, or the search is over.
    """

    def __init__(self, may_keep_one: bool = True) -> None:
        super().__init__(may_keep_one)
        self._since: dict[int, float] = {}  # by the id of a cached actor

    def cache_object(self, key: Any, obj: Any) -> bool:
        if self._others_wait(key):
            kept = super().cache_object(key, obj)
        else:
            self._cached_objects[key].append(obj)
            self._num_cached_objects += 1
            kept = True
        if kept:
            self._since[id(obj)] = time.monotonic()
        return kept

    def pop_cached_object(self, key: Any) -> Any:
        """The one that became idle last, so that the others, if nothing needs them, end after :data:`KEEP_SECONDS`."""
        if not self.has_cached_object(key):
            return None
        self._num_cached_objects -= 1
        return self._forgotten(self._cached_objects[key].pop())

    def flush_cached_objects(self, force_all: bool = False) -> Generator[Any, None, None]:
        """Those that are to be ended."""
        if force_all or any(map(self._others_wait, [*self._cached_objects])):
            yield from map(self._forgotten, super().flush_cached_objects(force_all))
            return
        for objects in self._cached_objects.values():
            while objects and time.monotonic() - self._since[id(objects[0])] > KEEP_SECONDS:
                self._num_cached_objects -= 1
                yield self._forgotten(objects.pop(0))

    def _others_wait(self, key: Any) -> bool:
        """Whether trials that request something else are to start, and have no idle slot."""
        return any(
            count > len(self._cached_objects.get(other, ()))
            for other, count in self._max_num_objects.items()
            if other != key
        )

    def _forgotten(self, obj: Any) -> Any:
        self._since.pop(id(obj), None)
        return obj


def keep_idle_slots() -> None:
    """Puts :class:`IdleSlots` in place of Tune's own cache, for all sweeps of this process."""
    vars(tune_controller)["_ObjectCache"] = IdleSlots
