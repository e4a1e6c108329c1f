"""A limit of memory for a process that reads files of others: a small file can unpack to more than a machine has."""

from __future__ import annotations

import resource

MEMORY_BYTES = 6 * 2**30  # of addresses; the libraries alone take a part of them


def limit_memory() -> None:
    """This process can't allocate more from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    allowed = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
