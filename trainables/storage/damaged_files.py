"""Files of a run that can't be read: cut off, edited, or somebody else's. An error names the file and what to do."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

_NAMES: dict[Path, str] = {}  # of copies of runs on this machine: how users call the run
MAX_BYTES = 2**28  # of a file that is read as a whole: a config, a record


class DamagedFile(ValueError):  # noqa: N818
    """A file that can't be read, or doesn't hold what it should; says which file and why."""


@contextmanager
def named(copy: Path, name: str) -> Iterator[None]:
    """Within the block, messages name files in the folder ``copy`` as files of ``name``, which it is a copy of."""
    _NAMES[copy] = name
    try:
        yield
    finally:
        del _NAMES[copy]


def display_name(path: Path | str) -> str:
    """A file as messages name it: by its path, or by the run's URL where it is in a copy.

    >>> with named(Path("/tmp/copy"), "s3://bucket/run"):
    ...     display_name(Path("/tmp/copy/trials/a/record.json"))
    's3://bucket/run/trials/a/record.json'
    """
    text = str(path)
    for copy, name in _NAMES.items():
        if text == str(copy) or text.startswith(f"{copy}/"):
            return name + text.removeprefix(str(copy))
    return text


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
        reason = _reason(error)
        place = display_name(path)
        raise DamagedFile(f"{place} is damaged: {reason}; put it back from a copy, or remove it") from error


def _reason(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, KeyError):
        return f"it has no {line}"
    if not isinstance(error, ValidationError):
        return line
    first = error.errors(include_url=False, include_input=False)[0]  # its first line only counts them
    key = ".".join(map(str, first["loc"]))
    return f"{key}: {first['msg']}" if key else first["msg"]


def read_bytes(path: Path) -> bytes:
    """The content of a file that holds JSON. Raises ``ValueError`` for a pipe or device, which has no end, and for one
    that is too large for it to be true: a few bytes of a disk can be a file of terabytes.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"it has {status.st_size} bytes")
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
