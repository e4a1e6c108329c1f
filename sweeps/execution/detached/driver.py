"""The driver of a detached sweep, as the command that started it sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class DriverNotStarted(Exception):  # noqa: N818
    """The driver ended before the sweep began. The message is the driver's output, ``code`` its exit code."""

    def __init__(self, output: str, code: int) -> None:
        super().__init__(output)
        self.code = code


@dataclass(frozen=True)
class DetachedDriver:
    """``exit_code`` returns ``None`` while the driver lives; ``stop`` ends it."""

    name: str
    exit_code: Callable[[], int | None]
    stop: Callable[[], object]
