"""The driver of a detached sweep, as who started it sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class NotBegun(Exception):  # noqa: N818
    """The driver ended before it had the run; ``code`` is its exit code, and it says what the driver said."""

    def __init__(self, said: str, code: int) -> None:
        super().__init__(said)
        self.code = code


@dataclass(frozen=True)
class Driver:
    """``ended`` gives its exit code, ``None`` while it lives."""

    name: str
    ended: Callable[[], int | None]
    call_off: Callable[[], object]
