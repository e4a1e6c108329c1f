"""What a sweep's loop looks after while its trials run: once a second, though it turns more often."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.runs import lock

if TYPE_CHECKING:
    from sweeps.cluster.node_resources import Machines

SECONDS = 1.0


class Every:
    """Does what it is called for at most once in so many seconds."""

    def __init__(self, do: Callable[[], object], seconds: float = SECONDS) -> None:
        self.do, self.seconds = do, seconds
        self._done: float | None = None

    def __call__(self) -> None:
        now = time.monotonic()
        if self._done is None or now - self._done >= self.seconds:
            self._done = now
            self.do()


class Asked:
    """Ends the sweep as Ctrl-C does when ``paretune stop`` asks for it, from wherever."""

    def __init__(self, run_folder: Path) -> None:
        self.run_folder, self._told = run_folder, False

    def __call__(self) -> None:
        if not self._told and lock.asked_to_stop(self.run_folder):
            self._told = True
            os.kill(os.getpid(), signal.SIGTERM)


class Saved:
    """Calls ``leave`` once a sweep is ``leaving`` and no trial has been under way for a second: a slot that is only
    being made has nothing to save, and is not waited for.
    """

    def __init__(self, leaving: Callable[[], bool], board: Any, leave: Callable[[], object]) -> None:
        self.leaving, self.board, self.leave = leaving, board, leave
        self._seen = False

    def __call__(self) -> None:
        import ray

        nothing = self.leaving() and ray.get(self.board.running_count.remote()) == 0
        if nothing and self._seen:
            self.leave()
        self._seen = nothing


class Drains:
    """Tells the board of nodes that are to be taken down, so that what runs there saves itself and moves."""

    def __init__(self, machines: Machines, board: Any) -> None:
        self.machines, self.board = machines, board
        self._told: set[str] = set()

    def __call__(self) -> None:
        leaving = set(self.machines.leaving())
        if leaving != self._told:
            self._told = leaving
            self.board.set_draining.remote(sorted(leaving))


class Listens:
    """Writes down what slots that don't have the run folder left for its log with the board."""

    def __init__(self, board: Any, run_folder: Path) -> None:
        self.board, self.log = board, run_folder / "sweep.log"

    def __call__(self) -> None:
        import ray

        with self.log.open("a", encoding="utf-8") as log:
            log.writelines(ray.get(self.board.take_log_lines.remote()))
