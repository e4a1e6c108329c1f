"""What a chat's process takes of main memory, and what is free."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainables.system.machine import available_memory_bytes


def memory_of(pid: int | None) -> dict[str, Any]:
    """Bytes that a process holds (``None`` without one) and that are available to others.

    >>> memory_of(None)["process_bytes"] is None
    True
    """
    return {"process_bytes": _resident_bytes(pid), "available_bytes": available_memory_bytes()}


def _resident_bytes(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), None)
