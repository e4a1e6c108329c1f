"""Small JSON files in the cache that commands add to: what is cut off, edited or absurd in them counts as nothing.

They hold an entry a trial or a file, which is worth a prediction or some seconds; a command never fails for them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MAX_BYTES = 2**24


def read_stored(path: Path) -> dict[str, Any]:
    """The object in such a file; empty where the file is missing, is damaged, or is none, as a pipe is."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def valid_entries(entries: Any, cls: type[T]) -> dict[str, T]:
    """The entries that are a ``cls``, a dataclass whose annotations say which values it may have; without others."""
    from pydantic import TypeAdapter, ValidationError

    adapter, valid = TypeAdapter(cls), dict[str, T]()
    for key, entry in entries.items() if isinstance(entries, dict) else ():
        try:
            valid[key] = adapter.validate_python(entry)
        except ValidationError:
            continue
    return valid
