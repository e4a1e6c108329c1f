"""JSON of a command on standard output, where nothing else may appear: its result, or events, one a line."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import Any, TextIO

import typer

from sweeps.commands.errors import FAILED, INTERRUPTED, explanation
from trainables.system.error_place import describe
from trainables.system.progress import progress_reported_to

PROGRESS_SECONDS = 0.2  # between events of the same work
Event = dict[str, Any]
Emit = Callable[[Event], None]


@contextmanager
def event_output() -> Iterator[Emit]:
    """Gives the function that prints an event. Whatever else writes to standard output within the block, a library or a
    child process, writes to standard error.
    """
    lock = threading.Lock()
    with _own_output() as file:

        def emit(event: Event) -> None:
            line = json.dumps(event, ensure_ascii=False)
            with lock:  # events of several threads stay lines
                file.write(f"{line}\n")
                file.flush()

        yield emit


@contextmanager
def _own_output() -> Iterator[TextIO]:
    """Standard output, which within the block is standard error for everybody else."""
    stdout = sys.stdout
    stdout.flush()
    descriptor = _descriptor(stdout)
    if descriptor is None or (errors := _descriptor(sys.stderr)) is None:
        with redirect_stdout(sys.stderr):
            yield stdout
        return
    copy = os.dup(descriptor)
    try:
        os.dup2(errors, descriptor)
        # A file's name that is no UTF-8 becomes its escape, which JSON has, too.
        with (
            open(copy, "w", encoding="utf-8", errors="backslashreplace", closefd=False) as file,
            redirect_stdout(sys.stderr),
        ):
            yield file
    finally:
        os.dup2(copy, descriptor)
        os.close(copy)


def _descriptor(file: TextIO) -> int | None:
    """The number of an open file of the system; ``None`` for one in memory."""
    try:
        return file.fileno()
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class CommandEvents:
    """What a command tells programs: events as they happen if ``emit`` is given, and the result at the end.

    ``write_result`` prints the result of ``--json``.
    """

    emit: Emit | None
    write_result: Callable[[Event], None]

    def progress(self, what: str, done: int | None = None, total: int | None = None) -> None:
        if self.emit is not None:
            self.emit({"event": "progress", "what": what, "done": done, "total": total})

    def warning(self, message: str) -> None:
        if self.emit is not None:
            self.emit({"event": "warning", "message": message})

    def error(self, message: str, exit_code: int) -> None:
        """The last event of a command that fails without an exception."""
        if self.emit is not None:
            self.emit({"event": "error", "message": message, "exit_code": exit_code})

    def result(self, values: Event) -> None:
        """The last event of a command that did its work, or with ``--json`` all of its output."""
        if self.emit is not None:
            self.emit({"event": "result", **values})
        else:
            self.write_result(values)


@contextmanager
def command_events(as_json: bool | None, *also: type[Exception]) -> Iterator[CommandEvents | None]:
    """What a command with ``--json`` or ``--events`` prints with; ``None`` without either. With ``--events``, progress
    that is reported within the block is printed, and an error that ends it; ``also`` as for ``users_errors``.
    """
    if as_json is None:
        yield None
        return
    if as_json:
        with _own_output() as file:
            yield CommandEvents(None, partial(_print_value, file))
        return
    with event_output() as emit:
        throttled = _Throttled(emit)
        with progress_reported_to(throttled.progress), _error_event(emit, also):
            yield CommandEvents(emit, emit)


def _print_value(file: TextIO, value: Event) -> None:
    file.write(f"{json.dumps(value, indent=2, ensure_ascii=False)}\n")
    file.flush()


class _Throttled:
    """Progress as events, at most one of a kind of work in a short time, and always its end."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self._last: tuple[str, float] | None = None

    def progress(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self._last is not None and done != total:
            same, at = self._last
            if same == what and now - at < PROGRESS_SECONDS:
                return
        self._last = what, now
        self.emit({"event": "progress", "what": what, "done": done, "total": total})


@contextmanager
def _error_event(emit: Emit, also: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, Exception) as error:
        # The error itself, where ``users_errors`` has printed it within the block.
        cause = error.__cause__ if isinstance(error, typer.Exit) else error
        message, code = _message(cause, also)
        emit({"event": "error", "message": message, "exit_code": code})
        raise


def _message(error: BaseException | None, also: tuple[type[Exception], ...]) -> tuple[str, int]:
    if error is None or isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    explained = explanation(error, *also)
    if explained is None:  # a bug: its stack trace is on standard error
        return describe(error), FAILED
    return "\n".join(explained.sentences), explained.exit_code
