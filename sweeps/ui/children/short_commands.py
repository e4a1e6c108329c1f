"""Short commands whose answer is JSON: plans, previews, reports. A newer one takes the place of the one before it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.ui.children.command_line import command_line
from trainables.system.redaction import redacted
from trainables.system.shown_text import shown

AT_ONCE = 4  # processes; others wait
END_SECONDS = 3.0  # for a command to remove its temporary files
REPLACED = "replaced"
TIMED_OUT = "timed_out"


@dataclass(frozen=True)
class Completed:
    """``value`` is the output as JSON, ``None`` if it is not JSON. ``ended`` says why there is no exit code.
    ``timeout``: the seconds that a command had which took too long.
    """

    exit_code: int | None
    value: Any = None
    stdout: str = ""
    stderr: str = ""
    ended: str | None = None  # REPLACED, TIMED_OUT
    timeout: float | None = None

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


@dataclass
class ShortCommands:
    """Runs short commands in the event loop; nothing of them is recorded."""

    running: dict[str, asyncio.Task[Completed]] = field(default_factory=dict)  # by name
    tasks: set[asyncio.Task[Completed]] = field(default_factory=set)  # with a name or without
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def run(
        self, argv: Sequence[str], cwd: Path | None, stdin: str | None, timeout: float, replaces: str | None
    ) -> Completed:
        task = asyncio.create_task(self._run(argv, cwd, stdin, timeout))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        if replaces is not None:
            if (earlier := self.running.get(replaces)) is not None:
                earlier.cancel()
            self.running[replaces] = task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and not _cancelled_ourselves():
                return Completed(None, ended=REPLACED)
            task.cancel()  # whoever asked has gone
            raise
        finally:
            if replaces is not None and self.running.get(replaces) is task:
                del self.running[replaces]

    async def _run(
        self, argv: Sequence[str], cwd: Path | None, stdin: str | None, timeout: float
    ) -> Completed:
        async with self.slots:
            process = await asyncio.create_subprocess_exec(
                *command_line(argv),
                stdin=DEVNULL if stdin is None else PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=cwd,
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(timeout):
                    out, err = await process.communicate(None if stdin is None else stdin.encode())
            except TimeoutError:
                return Completed(None, ended=TIMED_OUT, timeout=timeout)
            finally:
                await _end(process)
        text = out.decode("utf-8", errors="replace")
        return Completed(
            process.returncode, _value(text), text, shown(redacted(err.decode("utf-8", errors="replace")))
        )

    async def close(self) -> None:
        """Ends all commands; whoever waits for one gets the answer that it was replaced."""
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _cancelled_ourselves() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _end(process: Process) -> None:
    """Ends a process that is still running, with its group: as Ctrl-C does, then by force."""
    if process.returncode is not None:
        return
    for number, seconds in ((signal.SIGINT, END_SECONDS), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(process.wait())), seconds)
            return


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
