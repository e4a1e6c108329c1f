"""What processes have computed of files, kept as long as the files stay as they are; a few processes at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.ui.snapshots.computed import Failed, json_of
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
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def of_trials(self, arguments: Sequence[str], trials: Sequence[Path], seconds: float) -> Any:
        """The JSON that ``python -m ARGUMENTS TRIAL ...`` prints. Raises :class:`Failed`, also for a trial whose files
        are links.
        """
        argv = ["-m", *arguments, *map(str, trials)]
        key = (*argv, await asyncio.to_thread(_state, trials))
        task = self._tasks.get(key)
        if task is None or (task.done() and (task.cancelled() or isinstance(task.exception(), OSError))):
            task = self._tasks[key] = asyncio.create_task(self._compute(argv, seconds))
            self._forget_oldest()
        return await asyncio.shield(task)

    async def _compute(self, argv: list[str], seconds: float) -> Any:
        async with self._slots:
            return await json_of(argv, seconds)

    def _forget_oldest(self) -> None:
        done = [key for key, task in self._tasks.items() if task.done()]
        for key in done[: max(0, len(self._tasks) - KEPT)]:
            del self._tasks[key]

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()


def _state(trials: Iterable[Path]) -> tuple[Any, ...]:
    try:
        return tuple(stamp_of(require_own(trial / name)) for trial in trials for name in READ)
    except DamagedFile as error:
        raise Failed(str(error)) from None
