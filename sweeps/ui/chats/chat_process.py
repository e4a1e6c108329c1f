"""The process of one chat: requests and events are JSON lines. It ends with its standard input, so with the UI, too."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweeps.ui.children.command_line import command_line
from trainables.system.redaction import redacted
from trainables.system.shown_text import shown

MAX_LINE = 16 * 2**20
LOG_LINES = 40
END_SECONDS = 5.0  # for an orderly end after its input has ended


class ChatProcess:
    """``log`` has the last lines that it wrote to standard error."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._log: list[str] = []
        self._reading_log = asyncio.create_task(self._read_log())

    @classmethod
    async def start(cls, argv: Sequence[str], cwd: Path) -> ChatProcess:
        process = await asyncio.create_subprocess_exec(
            *command_line(argv),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=cwd,
            limit=MAX_LINE,
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def log(self) -> str:
        return shown(redacted("\n".join(self._log))).strip()

    async def send(self, request: dict[str, Any]) -> None:
        """Sends a request. One to a process that has ended is lost; the end of its events says so."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The events until the process ends; lines that are none are left out."""
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # longer than the limit
                continue
            if not line:
                break
            with suppress(ValueError, RecursionError):
                value = json.loads(line)
                if isinstance(value, dict) and isinstance(value.get("event"), str):
                    yield value
        await self._process.wait()
        await self._reading_log

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        with suppress(ValueError):
            async for line in self._process.stderr:
                self._log = [*self._log[1 - LOG_LINES :], line.decode("utf-8", errors="replace").rstrip()]

    async def end(self) -> None:
        """Closes its input and waits; by force, with all of its group, if it goes on."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(self._process.wait())), END_SECONDS)
        self.kill()
        await self._process.wait()

    def kill(self) -> None:
        """Kills what is left of its process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
