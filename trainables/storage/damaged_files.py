"""Files of a run that can't be read: cut off, edited, or somebody else's. An error names the file and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_BYTES = 2**28  # of a file that is read as a whole: a config, a record


class DamagedFile(ValueError):  # noqa: N818
    """A file that can't be read, or doesn't hold what it should; says which file and why."""


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Within the block, any error means that the file at ``path``, or at a URL, is damaged: raises
    :class:`DamagedFile`.
    """
    try:
        yield
    except DamagedFile:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = f"it has no {line}" if isinstance(error, KeyError) else line
        raise DamagedFile(f"{path} is damaged: {reason}; put it back from a copy, or remove it") from error


def read_bytes(path: Path) -> bytes:
    """The content of a file that holds JSON. Raises ``ValueError`` for one that is too large for it to be true: a few
    bytes of a disk can be a file of terabytes.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size} bytes")
    return path.read_bytes()


def parsed_object(content: bytes) -> dict[str, Any]:
    """The JSON object in a file's content. Raises ``ValueError`` and ``RecursionError``."""
    value = json.loads(content.decode())
    if not isinstance(value, dict):
        raise ValueError(f"it holds no JSON object but {type(value).__name__}")
    return value


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises :class:`DamagedFile`."""
    with reading(path):
        return parsed_object(read_bytes(path))
