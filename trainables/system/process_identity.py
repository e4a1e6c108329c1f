"""A process by its number and the time of its start: numbers alone are given again to other processes.

>>> mine = ProcessIdentity.of(os.getpid())
>>> mine is not None and mine.is_running()
True
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
STATE, GROUP, STARTED = 0, 2, 19  # fields of /proc/PID/stat, counted from its third one
ENDED_STATES = ("Z", "X")  # a zombie has ended, and waits for its parent


@dataclass(frozen=True)
class ProcessIdentity:
    """``started`` counts clock ticks since the machine's start ``boot``: a changed clock changes neither."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The process that has this number now; ``None`` if it has ended."""
        status = _status(pid)
        if status is None or status[STATE] in ENDED_STATES:
            return None
        return cls(pid, int(status[STARTED]), BOOT_ID.read_text(encoding="ascii").strip())

    @classmethod
    def from_json(cls, value: Any) -> ProcessIdentity | None:
        """The identity that was recorded; ``None`` for what is none."""
        match value:
            case {"pid": int(pid), "started": int(started), "boot": str(boot)} if pid > 1:
                return cls(pid, started, boot)
        return None

    def is_running(self) -> bool:
        return ProcessIdentity.of(self.pid) == self


def group_members(group: int) -> list[int]:
    """The processes of a process group that have not ended."""
    members = []
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        status = _status(pid)
        if status is not None and int(status[GROUP]) == group and status[STATE] not in ENDED_STATES:
            members.append(pid)
    return members


def _status(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third one on; ``None`` for a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the name in parentheses, which may contain any character.
    return text.rpartition(")")[2].split()
