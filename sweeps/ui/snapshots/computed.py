"""What is computed of a run in a process of its own: again only once more trials have ended and somebody looks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainables.system.redaction import redacted
from trainables.system.shown_text import shown

if TYPE_CHECKING:
    from sweeps.ui.snapshots.followed import Followed

NICENESS = 15
SECONDS = 300.0  # for one computation
AT_ONCE = 1
AGAIN_SECONDS = 60.0  # after which what failed is tried again, as where a busy machine took too long
Compute = Callable[["Followed"], Awaitable[Any]]


class Failed(Exception):  # noqa: N818
    """The process failed; the message is the last line that it printed."""


@dataclass
class Computed:
    """The last value for a run. ``of``: what it was computed of; ``task``: a computation under way; ``failed``: when
    the last one failed, by ``time.monotonic``.
    """

    value: Any = None
    as_of: float | None = None
    problem: str | None = None
    of: Any = None
    failed: float | None = None
    task: asyncio.Task[None] | None = None


@dataclass
class ComputedValues:
    """By the keys of runs. ``compute`` is called in the event loop, ``depends_on`` says what its value follows from."""

    compute: Compute
    depends_on: Callable[[Followed], Any]
    first: Callable[[Followed], Any] = lambda followed: None
    _values: dict[str, Computed] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def current(self, followed: Followed) -> dict[str, Any]:
        """The value as it is, at once; another is computed in the background where this one is of an earlier state.

        ``{"value": ..., "as_of": ..., "problem": ..., "computing": ...}``
        """
        known = self._values.setdefault(followed.entry.key, Computed())
        if known.value is None and known.as_of is None:
            known.value = await asyncio.to_thread(self.first, followed)
        now = self.depends_on(followed)
        again = known.failed is not None and time.monotonic() - known.failed > AGAIN_SECONDS
        if (known.of != now or again) and (known.task is None or known.task.done()):
            known.task = asyncio.create_task(self._compute(followed, known, now))
        computing = known.task is not None and not known.task.done()
        return {"value": known.value, "as_of": known.as_of, "problem": known.problem, "computing": computing}

    async def _compute(self, followed: Followed, known: Computed, now: Any) -> None:
        async with self._slots:
            try:
                value = await self.compute(followed)
            except (Failed, OSError) as error:
                known.problem, known.failed = str(error) or type(error).__name__, time.monotonic()
            else:
                known.value, known.problem, known.as_of, known.failed = value, None, time.time(), None
            # Also where it failed: the same would fail again at once.
            known.of = now

    def close(self) -> list[asyncio.Task[Any]]:
        """Ends all computations; returns those that are still ending."""
        tasks = [
            known.task for known in self._values.values() if known.task is not None and not known.task.done()
        ]
        for task in tasks:
            task.cancel()
        return tasks


async def json_of(argv: list[str], seconds: float = SECONDS) -> Any:
    """The JSON that a Python module prints, such as ``["-m", "sweeps.cli", "report", RUN, "--json"]``. Raises
    :class:`Failed`. The process ends with whoever waits for it.
    """
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", str(NICENESS), sys.executable, "-P", *argv),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    except TimeoutError:
        raise Failed(f"it took more than {seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()  # its pipes are closed before the event loop is
    if process.returncode != 0:
        raise Failed(_last_words(err) or f"it ended with code {process.returncode}")
    return await asyncio.to_thread(_parsed, out)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Failed("it printed no JSON") from None


def _last_words(error: bytes) -> str:
    """The last line with a word in it: a frame around an error ends with one that has none."""
    lines = shown(redacted(error.decode("utf-8", "replace"))).splitlines()
    return next((line.strip("│ ") for line in reversed(lines) if any(map(str.isalnum, line))), "")
