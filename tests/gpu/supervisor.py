"""The process that watches: it starts the one that makes the checks, and another one where that dies or hangs.

It imports no torch. After every row the report is written, so that a run that is cut keeps what it had.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.gpu.check import Check
from tests.gpu.report import Report, Row

# A check may take that many times the seconds that it says, and at least so many, before its process is taken to hang.
PATIENCE, LEAST_SECONDS = 3.0, 90
START_SECONDS = 120  # until the process has imported its libraries
GRACE_SECONDS = 15  # beyond the budget, for a case that has begun
ERROR_LENGTH = 3000  # characters of what a process that died had printed


class Lost(Exception):  # noqa: N818
    """The process ended, or gave no sign for too long."""


@dataclass
class WorkerProcess:
    """A process of ``tests.gpu.worker``; ``command`` starts it, ``log`` is where its standard error goes."""

    command: Sequence[str]
    log: Path
    _process: subprocess.Popen[str] = field(init=False)
    _messages: queue.Queue[dict[str, Any] | None] = field(init=False, default_factory=queue.Queue)

    def __post_init__(self) -> None:
        with self.log.open("w") as errors:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._messages.put(json.loads(line))
        self._messages.put(None)

    def send(self, name: str) -> None:
        """Names the next check. Raises :class:`Lost`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{name}\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise Lost(self._how_it_ended()) from error

    def receive(self, until: float) -> dict[str, Any]:
        """The next message. Raises :class:`Lost` where the process ends, or is silent ``until`` then."""
        try:
            message = self._messages.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            self.end()
            raise Lost("it took too long, and its process was ended") from None
        if message is None:
            raise Lost(self._how_it_ended())
        return message

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def printed(self) -> str:
        """The end of what it wrote to standard error."""
        return self.log.read_text(errors="replace")[-ERROR_LENGTH:]

    def _how_it_ended(self) -> str:
        return f"its process ended with code {self._process.wait()}"


@dataclass
class Supervisor:
    """Makes ``checks`` within ``budget`` seconds. ``show`` is called with each row once it is there."""

    checks: Sequence[Check]
    budget: float
    start: Callable[[float], WorkerProcess]  # called with the seconds that are left
    out: Path
    show: Callable[[Row], None] = lambda _: None
    report: Report = field(default_factory=lambda: Report({}))
    patience: float = PATIENCE
    _worker: WorkerProcess | None = None
    _began: float = field(default_factory=time.monotonic)

    def run(self) -> Report:
        try:
            for check in self.checks:
                for row in self._rows(check):
                    self.report = replace(self.report, rows=(*self.report.rows, row))
                    self.report.write(self.out)
                    self.show(row)
        finally:
            if self._worker is not None:
                self._worker.end()
        return self.report

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self._began + self.budget - time.monotonic()

    def _rows(self, check: Check) -> Iterator[Row]:
        if self.left < check.seconds:
            reason = (
                f"{max(0, self.left):.0f} s of the budget were left, and it takes about {check.seconds} s"
            )
            yield Row(check.name, "all", "skipped", reason=reason)
            return
        case, began = "starting", time.monotonic()
        try:
            worker = self._ready_worker()
            worker.send(check.name)
            patience = max(LEAST_SECONDS, self.patience * check.seconds)
            until = time.monotonic() + min(patience, self.left + GRACE_SECONDS)
            while "done" not in (message := worker.receive(until)):
                if "row" in message:
                    yield Row(**message["row"])
                else:
                    case, began = message["case"], time.monotonic()
            if not message["healthy"]:
                self._forget_worker()
        except Lost as lost:
            trace = self._worker.printed() if self._worker is not None else None
            self._forget_worker()
            yield Row(check.name, case, "error", {}, str(lost), trace, time.monotonic() - began)

    def _ready_worker(self) -> WorkerProcess:
        if self._worker is None:
            self._worker = self.start(self.left)
            environment = self._worker.receive(time.monotonic() + START_SECONDS)["environment"]
            self.report = replace(self.report, environment={**environment, **self.report.environment})
        return self._worker

    def _forget_worker(self) -> None:
        if self._worker is not None:
            self._worker.end()
        self._worker = None


def worker_command(folder: Path, dry: bool, seconds: float) -> list[str]:
    mode = "dry" if dry else "real"
    return [sys.executable, "-m", "tests.gpu.worker", str(folder), mode, f"{seconds:.1f}"]
