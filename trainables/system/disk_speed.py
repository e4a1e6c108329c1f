"""How fast a disk is written, measured by writing to it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

BLOCK_BYTES = 32 * 2**20  # that reach the disk together
# Tensors are gathered and put into files first, while other trials train: 0.16 of 0.53 GB/s with two busy cores.
SHARE_OF_CHECKPOINTS = 0.3
PROBE_SECONDS, PROBE_BYTES = 1.0, 2**30  # a disk's own memory takes the first of them faster than the rest


def checkpoint_speed(folder: Path) -> float | None:
    """Bytes per second at which checkpoints are expected to be written in ``folder``, from :func:`write_speed`."""
    speed = write_speed(folder)
    return None if speed is None else speed * SHARE_OF_CHECKPOINTS


def write_speed(folder: Path) -> float | None:
    """Bytes per second at which a new file in ``folder``, or in its nearest folder that exists, reaches the disk.

    Takes about a second. ``None`` where nothing can be written.
    """
    while not folder.is_dir():
        folder = folder.parent
    block = os.urandom(BLOCK_BYTES)  # some file systems compress
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            started, written = time.perf_counter(), 0
            while True:
                file.write(block)
                file.flush()
                os.fsync(file.fileno())
                written, seconds = written + BLOCK_BYTES, time.perf_counter() - started
                if seconds >= PROBE_SECONDS or written >= PROBE_BYTES:
                    return written / seconds
    except OSError:
        return None
