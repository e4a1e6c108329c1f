"""The process of a detached driver, as it is recorded until it holds the run: meanwhile it reads and plans the spec."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from sweeps.runs.layout import DRIVER
from trainables.storage import files
from trainables.storage.damaged_files import DamagedFile, read_object
from trainables.system.process_identity import ProcessIdentity

NAMESPACE = Path(
    "/proc/self/ns/pid"
)  # a link: containers of one machine give the same numbers to other processes


def record(run: Path, pid: int) -> None:
    """Records the process with this number as the driver that was started for a run, unless it has ended."""
    if (process := ProcessIdentity.of(pid)) is not None:
        files.write_json(run / DRIVER, asdict(process) | {"namespace": os.readlink(NAMESPACE)})


def is_running(run: Path) -> bool | None:
    """Whether the driver runs that was started for a run; ``None`` where that is not recorded, or where it runs on
    another machine or in another container.
    """
    try:
        recorded = read_object(run / DRIVER)
    except DamagedFile:
        return None
    process, mine = ProcessIdentity.from_json(recorded), ProcessIdentity.of(os.getpid())
    if process is None or mine is None or recorded.get("namespace") != os.readlink(NAMESPACE):
        return None
    return process.is_running() if process.boot == mine.boot else None
