"""A lock between processes, by a file."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.storage import files


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on ``path`` while the block runs; it ends with its process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.open_to_append(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
