"""What processes have computed of files, kept as long as the files stay as they are; a few processes at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.ui.snapshots.computed import AGAIN_SECONDS, Failed, json_of
from sweeps.ui.snapshots.curves import stamp_of
from trainables.storage.damaged_files import DamagedFile
from trainables.storage.regular_files import require_own

AT_ONCE = 2
KEPT = 64  # results
READ = ("predictions.parquet", "record.json")  # of each trial


@dataclass
class ComputedJson:
    """By module, trials and the state of their files."""

    _tasks: dict[Any, asyncio.Task[Any]] = field(default_factory=dict)
    _failed: dict[asyncio.Task[Any], float] = field(default_factory=dict)  # when, by ``time.monotonic``
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def of_trials(self, arguments: Sequence[str], trials: Sequence[Path], seconds: float) -> Any:
        """The JSON that ``python -m ARGUMENTS TRIAL ...`` prints. Raises :class:`Failed`, also for a trial whose files
        are links.
        """
        argv = ["-m", *arguments, *map(str, trials)]
        key = (*argv, await asyncio.to_thread(_state, trials))
        task = self._tasks.get(key)
        if task is None or self._again(task):
            if task is not None:
                self._failed.pop(task, None)
            task = self._tasks[key] = asyncio.create_task(self._compute(argv, seconds))
            self._forget_oldest()
        return await asyncio.shield(task)

    def _again(self, task: asyncio.Task[Any]) -> bool:
        """Whether what a task was for is tried again: where it failed a while ago, as on a busy machine."""
        if not task.done() or task.cancelled():
            return task.cancelled()
        failed = self._failed.get(task)
        lately = failed is not None and time.monotonic() - failed < AGAIN_SECONDS
        return task.exception() is not None and not lately

    async def _compute(self, argv: list[str], seconds: float) -> Any:
        async with self._slots:
            try:
                return await json_of(argv, seconds)
            except Failed:
                task = asyncio.current_task()
                assert task is not None
                self._failed[task] = time.monotonic()
                raise

    def _forget_oldest(self) -> None:
        done = [key for key, task in self._tasks.items() if task.done()]
        for key in done[: max(0, len(self._tasks) - KEPT)]:
            self._failed.pop(self._tasks.pop(key), None)

    def close(self) -> list[asyncio.Task[Any]]:
        """Ends all computations; returns those that are still ending."""
        tasks = [task for task in self._tasks.values() if not task.done()]
        for task in tasks:
            task.cancel()
        return tasks


def _state(trials: Iterable[Path]) -> tuple[Any, ...]:
    try:
        return tuple(stamp_of(require_own(trial / name)) for trial in trials for name in READ)
    except DamagedFile as error:
        raise Failed(str(error)) from None
