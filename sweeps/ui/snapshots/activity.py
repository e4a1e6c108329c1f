"""What a run is doing, in one word, and how that is known from its folder.

| state | known by |
|---|---|
| queued | a detached driver's request or log is there, no process holds the run, and its own, if known, has not ended |
| starting | a process holds it, and has not said yet what its trials do |
| running, stopping | the same, once it has; and once its end was requested |
| done | no process holds it, and nothing is left to do |
| stopped | trials are left, and the log says that `paretune stop` requested the end |
| interrupted | trials are left, and the log says that a signal did |
| dead | trials are left, and the log says neither: the driver died, or an error ended it |
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeps.execution.detached import driver_process
from sweeps.runs.layout import LOCK, LOG, SIGNS, STOP, STOP_LINE, waiting_requests
from trainables.storage.regular_files import tail
from trainables.system.redaction import redacted

State = Literal[
    "queued", "starting", "running", "stopping", "stopped", "interrupted", "done", "dead", "trials"
]
TAIL_BYTES = 65_536
BEGINNINGS = re.compile(r"^\d\d:\d\d:\d\d (?:starts Ray on this machine|joins the cluster at )")
INTERRUPTED_LINE = " interrupted: the running trials are saving themselves"
ERROR_LINE = " An error ended the sweep."
ENDED = re.compile(r"ended with code (\d+)")
SILENT_SECONDS = (
    900.0  # after which a detached driver counts as dead that has neither begun nor ended, and runs elsewhere
)


@dataclass(frozen=True)
class Activity:
    """``reason``: a sentence of the run's files that says why; ``None`` where the state says it all."""

    state: State
    reason: str | None = None


def activity(run: Path, holder: str | None, remaining: int, begun: bool, planned: bool) -> Activity:
    """``remaining``: trials without a result, of the plan and begun ones. ``begun``: whether a trial has. ``planned``:
    whether the folder is a sweep's, not that of `paretune try`.
    """
    if holder is not None:
        return Activity(_held(run, begun))
    if not planned:
        return Activity("trials") if begun else _not_begun(run)
    if not remaining:
        return Activity("done")
    return _left(run)


def _held(run: Path, begun: bool) -> State:
    if (run / STOP).exists():
        return "stopping"
    # A run at a URL has neither here; before its driver has said something, the log's last lines are another session's.
    said = _newer(run / SIGNS, run / LOCK) or not (run / LOCK).exists()
    if not (begun and said):
        return "starting"
    return "running" if _end_of_session(run) is None else "stopping"


def _left(run: Path) -> Activity:
    """Trials are left, and nobody runs them."""
    if waiting_requests(run):
        return Activity("queued")
    match _end_of_session(run):
        case "stopped":
            return Activity("stopped")
        case "interrupted":
            return Activity("interrupted")
        case "error":
            return Activity("dead", _last_line(run / "sweep.log", ERROR_LINE))
    return Activity("done") if _ended_in_order(run) else Activity("dead", _name_in_lock(run))


def _not_begun(run: Path) -> Activity:
    log = run / LOG
    if waiting_requests(run):
        return Activity("queued")
    lines, driven = _last_lines(log), driver_process.is_running(run)
    if driven:
        return Activity("queued")
    if lines and ENDED.search(lines[-1]):
        said = [line for line in lines[-6:-1] if line.strip()]
        return Activity("dead", redacted(said[-1] if said else lines[-1]))
    written = _modified(log) or _modified(run)
    recent = written is not None and time.time() - written < SILENT_SECONDS
    if log.exists() and driven is None and recent:
        return Activity("queued")
    return Activity("dead", redacted(lines[-1]) if lines else None)


def _end_of_session(run: Path) -> Literal["stopped", "interrupted", "error"] | None:
    """How the session of the last driver was asked to end, by its log; ``None`` where the log doesn't say."""
    log = run / "sweep.log"
    if not _newer(log, run / LOCK):
        return None
    found: Literal["stopped", "interrupted", "error"] | None = None
    for line in _last_lines(log):
        if BEGINNINGS.match(line):
            found = None
        elif STOP_LINE in line:
            found = "stopped"
        elif INTERRUPTED_LINE in line and found is None:
            found = "interrupted"
        elif ERROR_LINE in line:
            found = "error"
    return found


def _ended_in_order(run: Path) -> bool:
    """Whether the driver wrote its tables and its time at last: the space of a cell may have been exhausted."""
    tables, record = _modified(run / "trials.parquet"), _modified(run / "environment.json")
    begun = _modified(run / LOCK)
    if tables is None or record is None:
        return False
    newest = max((_modified(path) or 0.0 for path in run.glob("trials/*/record.json")), default=0.0)
    return begun is not None and begun <= tables <= record and newest <= tables


def _name_in_lock(run: Path) -> str | None:
    return redacted(tail(run / LOCK, TAIL_BYTES)[:500].strip()) or None


def _last_line(path: Path, part: str) -> str | None:
    return next((redacted(line) for line in reversed(_last_lines(path)) if part in line), None)


def _last_lines(path: Path) -> list[str]:
    return tail(path, TAIL_BYTES).splitlines()


def _newer(path: Path, other: Path) -> bool:
    """Whether a file was written since another was; ``False`` where it is missing."""
    written, than = _modified(path), _modified(other)
    return written is not None and (than is None or written >= than)


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
