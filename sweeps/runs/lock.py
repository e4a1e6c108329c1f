"""Which process holds a run folder, and how its driver is asked to stop."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.runs.foreign_entries import require_writable
from sweeps.runs.layout import BEGUN, DRIVER, LOCK, STOP, waiting_requests
from sweeps.spec.problems import Problem, SpecError
from trainables.storage import files
from trainables.system import provenance

EARLIER_REQUESTS = ".orders-{}.json"  # in the run's folder, as earlier versions named it


def holder(run: Path) -> str | None:
    """The process that holds a run, as the lock names it; ``None`` when none does."""
    path = run / LOCK
    if not path.exists():
        return None
    with path.open("r", encoding="utf-8") as file:
        try:
            # A shared lock, so that two commands that look at once don't take each other for the driver.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            # The lock is taken before the name is written, so the file may still be empty.
            return file.read().strip() or "a process that has only just begun"
        except OSError:  # a file system without locks, where nothing can hold a run
            return None
    return None


def require_free(run: Path) -> None:
    """Raises ``SpecError`` that says which process holds a run, if one does."""
    if (process := holder(run)) is not None:
        raise SpecError(held_by(str(run), process))


def held_by(display_name: str, process: str) -> Problem:
    """The problem that a process holds the run already."""
    what = (
        f"another run holds it: {process}. A run has one driver at a time: `paretune status` follows it, `paretune "
        "stop` ends it; other cells can run beside it under another name (--set name=NAME)"
    )
    return Problem(display_name, "", what)


def _no_locks(run: Path, error: OSError) -> Problem:
    """The problem that two drivers of a run could not be kept apart: a Lustre that is mounted without ``flock``."""
    what = (
        f"its file system has no locks ({error.strerror}), which keep two drivers of a run apart. Have it mounted with "
        "locks (Lustre: -o flock), or give another --output"
    )
    return Problem(str(run), "", what)


def request_stop(run: Path) -> None:
    """Has the process that holds a run end it as Ctrl-C would, once it sees :func:`stop_requested`."""
    files.write_text(run / STOP, provenance.now() + "\n")


def stop_requested(run: Path) -> bool:
    return (run / STOP).exists()


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Holds the run folder within the block: two drivers would overwrite one another's files. The lock ends with
    its process.

    Raises ``SpecError`` that says which process holds it, and ``DamagedFile`` for a folder through which files
    elsewhere would be written.
    """
    run.mkdir(parents=True, exist_ok=True)
    require_writable(run)
    path = run / LOCK
    # Opened for appending: "w" would erase the holder's name before the lock is tried.
    with files.open_to_append(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise SpecError(held_by(str(run), file.read().strip())) from None
        except OSError as error:
            raise SpecError(_no_locks(run, error)) from error
        file.seek(0)
        file.truncate()
        # The name stays in the file afterwards; whether the run is held is told by the lock alone.
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {provenance.now()}\n")
        file.flush()
        (run / STOP).unlink(missing_ok=True)  # meant for the process that held it before
        # What a command left that was killed while it started a driver; the holder itself has read its own.
        for path in _left_by_starters(run):
            path.unlink(missing_ok=True)
        try:
            yield
        finally:
            (run / STOP).unlink(missing_ok=True)


def _left_by_starters(run: Path) -> list[Path]:
    earlier = [
        path for pattern in (BEGUN, DRIVER, EARLIER_REQUESTS) for path in run.glob(pattern.format("*"))
    ]
    return [*waiting_requests(run), *earlier]
