"""How far the reading and tokenizing of data is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trainables.system.progress import watched

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SILENT_SECONDS = 2.0  # what is done by then needs no bar
LINE_SECONDS = 30.0


@contextmanager
def shown() -> Iterator[None]:
    """Shows the progress of what is done within the block."""
    bar = _Bar() if sys.stderr.isatty() else _Lines()
    with watched(bar.tell):
        try:
            yield
        finally:
            bar.end()


class _Lines:
    """One line every half minute."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def tell(self, what: str, done: int, total: int | None) -> None:
        if time.monotonic() - self.last >= LINE_SECONDS:
            self.last = time.monotonic()
            print(f"{what}: {done}{f' of {total}' if total else ''}", file=sys.stderr, flush=True)

    def end(self) -> None:
        return


class _Bar:
    """A bar with rows, rows per second and the time left, if it takes long enough to be worth one."""

    def __init__(self) -> None:
        self.since: dict[str, float] = {}
        self.progress: Progress | None = None
        self.tasks: dict[str, TaskID] = {}

    def tell(self, what: str, done: int, total: int | None) -> None:
        if time.monotonic() - self.since.setdefault(what, time.monotonic()) < SILENT_SECONDS:
            return
        if self.progress is None:
            self.progress = _columns()
            self.progress.start()
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=total)
        self.progress.update(self.tasks[what], completed=done, total=total)

    def end(self) -> None:
        if self.progress is not None:
            self.progress.stop()


def _columns() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)
