"""Keeps the files of weights that are mapped into this process in memory while it is measured.

The pages of a mapped file count as resident while they are there, and the system may drop them at any time: under
pressure, or where it reclaims what was not touched for a while (Linux's DAMON), as of a process that waits for a busy
processor. A peak would come out too low by what was dropped.
"""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from trainables.system import machine

SUFFIX = ".safetensors"
# mlock2: locks the pages that are there, and others once they are read. mlock would write to all pages of a private
# mapping, so that each is copied: the weights would take memory twice, as a copy and as the system's cache of the file.
MLOCK_ONFAULT = 1
# Start and end of a mapping, in hexadecimal digits, and the file's name: (start)-(end) rw-p offset device inode (name).
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ +(.*)")


def mapped_ranges(suffix: str = SUFFIX) -> Iterator[tuple[int, int]]:
    """(address, bytes) of the mappings of files whose names end so."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        found = _MAPPING.fullmatch(line)
        if found is not None and found[3].endswith(suffix):
            yield int(found[1], 16), int(found[2], 16) - int(found[1], 16)


def keep_in_memory(suffix: str = SUFFIX) -> int:
    """Locks mapped files in memory, until they are unmapped, and returns how many bytes; 0 where the system doesn't
    allow it, or where they would take more than half of the memory that is free.
    """
    if sys.platform != "linux":
        return 0
    ranges = list(mapped_ranges(suffix))
    total = sum(size for _, size in ranges)
    if 2 * total > machine.available_memory_bytes():
        return 0
    with suppress(ValueError, OSError):  # not allowed
        most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (most, most))
    lock = ctypes.CDLL(None).mlock2
    lock.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return sum(size for start, size in ranges if lock(start, size, MLOCK_ONFAULT) == 0)
