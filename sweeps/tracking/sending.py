"""Sends a run folder that nobody writes to a tracker, from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sweeps.tracking.base import Tracker
from sweeps.tracking.supervision import TrackerProcess

SECONDS = 24 * 3600.0  # for sending; people see it and may end it, so only what hangs has a limit


def send(tracker: Tracker, run_folder: Path, log: Callable[[str], None], again: str) -> bool:
    """Sends all trials and the summary; returns whether everything was sent. The run's tables must be written.

    ``log`` gets a line where it was not, with the command ``again``, which sends the rest. Ctrl-C ends the
    process and raises ``KeyboardInterrupt``.
    """
    process = TrackerProcess(tracker, run_folder, log, again)
    process.start()
    process.summarize()
    process.ask_to_end()
    process.end(time.monotonic() + SECONDS, SECONDS)
    if process.interrupted:
        raise KeyboardInterrupt
    return process.process is not None and process.process.returncode == 0
