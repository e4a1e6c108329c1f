"""How fast a disk is written, measured by writing to it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

PROBE_BYTES = 32 * 2**20
BLOCK_BYTES = 2**20


def write_speed(folder: Path) -> float | None:
    """Bytes per second at which a new file in ``folder``, or in its nearest folder that exists, reaches the disk.

    ``None`` where nothing can be written.
    """
    while not folder.is_dir():
        folder = folder.parent
    block = os.urandom(BLOCK_BYTES)  # some file systems compress
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            started = time.perf_counter()
            for _ in range(PROBE_BYTES // BLOCK_BYTES):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            return PROBE_BYTES / (time.perf_counter() - started)
    except OSError:
        return None
