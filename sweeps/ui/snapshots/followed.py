"""A run that is followed, and what is known of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainables.system.shown_text import shown

if TYPE_CHECKING:
    from sweeps.ui.run_index import RunEntry
    from sweeps.ui.snapshots.reader import RunReader
    from sweeps.ui.snapshots.snapshot import RunSnapshot
    from sweeps.ui.snapshots.url_copy import UrlCopy


@dataclass
class Followed:
    """A run that is followed. ``snapshot``: the last that was read; ``problem``: why the last read failed."""

    entry: RunEntry
    snapshot: RunSnapshot | None = None
    problem: str | None = None
    reader: RunReader | None = None
    read_seconds: float = 0.0
    page_until: float = 0.0
    home_until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)  # of the reader
    first_read: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    copy: UrlCopy | None = None

    def to_json(self) -> dict[str, Any]:
        """The snapshot as pages get it; of a run that could not be read yet, its name and the problem."""
        if self.snapshot is None:
            return {**unread(self.entry, self.problem), "columns": [], "rows": []}
        return {**self.snapshot.to_json(), "problem": self.problem}

    def summary(self) -> dict[str, Any]:
        if self.snapshot is None:
            return unread(self.entry, self.problem)
        return {**self.snapshot.summary(), "problem": self.problem}


def unread(entry: RunEntry, problem: str | None) -> dict[str, Any]:
    """A run of which nothing is known yet."""
    nothing = dict.fromkeys(
        ("question", "reason", "best", "peak_bytes", "began", "changed", "holder", "as_of")
    )
    lists: dict[str, Any] = {"cells": [], "damaged": [], "failed": 0, "ended": 0, "total": 0}
    named = {"key": entry.key, "name": shown(entry.name), "place": shown(entry.location), "state": "reading"}
    return {**nothing, **lists, **named, "problem": problem}
