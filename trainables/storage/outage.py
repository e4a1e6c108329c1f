"""A run folder that can't be written to for a while: a full disk, a file system that errors. It is waited for.

That a trial could not write says nothing of the trial: it is no failed row, and is gone on with once there is room.
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
PROBE_BYTES = 2**20  # a disk that is full may have room for a few bytes
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
# What libraries that write by themselves make of these.
WORDS = tuple(os.strerror(number).lower() for number in ERRORS)


def of_storage(error: BaseException, folder: Path) -> str | None:
    """Why what went wrong is the storage's doing and nobody else's; ``None`` if it isn't."""
    for cause in _causes(error):
        known = isinstance(cause, OSError) and cause.errno in ERRORS
        if known or any(word in str(cause).lower() for word in WORDS):
            return f"{folder}: {str(cause).strip().splitlines()[0]}"
    return unwritable(folder)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def unwritable(folder: Path) -> str | None:
    """Why nothing can be written to a folder just now; ``None`` if something can."""
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


def outlasted(folder: Path, meanwhile: Callable[[], object] = lambda: None) -> bool:
    """Waits until a folder can be written to; whether it can. ``meanwhile`` is called while it can't."""
    until = time.monotonic() + PATIENCE_SECONDS
    while unwritable(folder) is not None:
        if time.monotonic() > until:
            return False
        meanwhile()
        time.sleep(PAUSE_SECONDS)
    return True
