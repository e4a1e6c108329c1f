"""Outages of the storage that holds a run folder (a full disk, a failing file system): detected and waited for.

That a trial could not write says nothing about the trial: it gets no failed record, and is resumed once its folder
can be written to again.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE_SECONDS = 1800.0
PAUSE_SECONDS = 2.0
PROBE_BYTES = 2**20  # a full disk may still take a few bytes
ERRORS = {
    getattr(errno, name)
    for name in (
        "ENOSPC",
        "EDQUOT",
        "EIO",
        "EROFS",
        "ESTALE",
        "ETIMEDOUT",
        "ENOTCONN",
        "EHOSTDOWN",
        "EREMOTEIO",
        "ENODEV",
    )
    if hasattr(errno, name)
}
# Libraries that write by themselves (safetensors) raise their own exceptions with the system's text in them.
ERROR_TEXTS = tuple(os.strerror(number).lower() for number in ERRORS)


def storage_failure(error: BaseException, folder: Path) -> str | None:
    """Why ``error`` was caused by the storage that holds ``folder``; ``None`` if it was not."""
    for cause in _causes(error):
        is_known = isinstance(cause, OSError) and cause.errno in ERRORS
        if is_known or any(text in str(cause).lower() for text in ERROR_TEXTS):
            return f"{folder}: {str(cause).strip().splitlines()[0]}"
    return write_failure(folder)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    # Exceptions can refer to one another in a circle.
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def write_failure(folder: Path) -> str | None:
    """Why nothing can be written to ``folder`` at the moment; ``None`` if writing works."""
    probe = folder / f".probe-{secrets.token_hex(4)}.tmp"
    try:
        try:
            with probe.open("wb") as file:
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


def wait_until_writable(folder: Path, meanwhile: Callable[[], object] = lambda: None) -> bool:
    """Waits until ``folder`` can be written to, for :data:`PATIENCE_SECONDS` at most; returns whether it can.

    ``meanwhile`` is called before each pause.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while write_failure(folder) is not None:
        if time.monotonic() > deadline:
            return False
        meanwhile()
        time.sleep(PAUSE_SECONDS)
    return True
