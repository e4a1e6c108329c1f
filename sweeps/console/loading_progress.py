"""The progress of reading and tokenizing data: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainables.system.background import Throttle
from trainables.system.progress import has_listener, progress_reported_to

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BAR_DELAY_SECONDS = 2.0  # work that is done by then shows no bar
LINE_SECONDS = 30.0  # between lines


@contextmanager
def display() -> Iterator[None]:
    """Shows the progress that is reported within the block, unless somebody shows it already."""
    if has_listener():
        yield
        return
    bar = BarDisplay() if sys.stderr.isatty() else LineDisplay()
    with progress_reported_to(bar.show):
        try:
            yield
        finally:
            bar.end()


class LineDisplay:
    """Prints one line every ``LINE_SECONDS``."""

    def __init__(self) -> None:
        self.throttle = Throttle(LINE_SECONDS, wait_first=True)

    def show(self, what: str, done: int, total: int | None) -> None:
        if self.throttle.due():
            print(f"{what}: {done}{f' of {total}' if total else ''}", file=sys.stderr, flush=True)

    def end(self) -> None:
        return


class BarDisplay:
    """A bar per kind of work, with the amount done and the time left, once the work takes long enough."""

    def __init__(self) -> None:
        self.since: dict[str, float] = {}
        self.progress: Progress | None = None
        self.tasks: dict[str, TaskID] = {}

    def show(self, what: str, done: int, total: int | None) -> None:
        # Each kind of work has a delay of its own, from the first time that it reports something.
        if time.monotonic() - self.since.setdefault(what, time.monotonic()) < BAR_DELAY_SECONDS:
            return
        if self.progress is None:
            self.progress = _make_progress()
            self.progress.start()
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=total)
        self.progress.update(self.tasks[what], completed=done, total=total)

    def end(self) -> None:
        if self.progress is not None:
            self.progress.stop()


def _make_progress() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sweeps.console.guarded_console import GuardedConsole

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=GuardedConsole(stderr=True), transient=True)
