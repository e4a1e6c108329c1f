"""Cached folders that outlive a run and can be made again: converted rows, their tokens. One folder an entry.

An entry is made once, by one process while others wait, and appears only when it is complete. Entries that nobody has
used for :data:`DAYS` days are removed when a new one is made.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trainables.storage import files
from trainables.storage.damaged_files import read_bytes
from trainables.storage.home import home
from trainables.storage.locks import locked
from trainables.storage.names import within

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")

DAYS = 30


def entry(kind: str, key: str, write: Callable[[Path], None]) -> Path:
    """The cached folder of ``kind`` for ``key``, a hash in hex; ``write`` fills it if it does not exist yet.

    Raises ``UnsafeName`` for a key that is no name of a folder.
    """
    folder = within(home() / kind, key[:16])
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock")):
            if not folder.exists():  # another process may have made it while this one waited
                _remove_unused(folder.parent)
                with files.atomic_folder(folder) as unfinished:
                    write(unfinished)
    # Its modification time says when it was last used; an entry of another user can be read all the same.
    with suppress(OSError):
        folder.touch()
    return folder


def opened(kind: str, key: str, write: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """What ``read`` gives of an :func:`entry`; one that can't be read, as it was cut off or edited, is made again."""
    folder = entry(kind, key, write)
    try:
        return read(folder)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    return read(entry(kind, key, write))


def value(kind: str, key: str, file_name: str, cls: type[D], make: Callable[[], D]) -> D:
    """The cached value of a dataclass, which ``make`` gives if it isn't kept yet or the file is damaged."""
    from pydantic import TypeAdapter

    def write(folder: Path) -> None:
        files.write_json(folder / file_name, asdict(make()))

    return opened(
        kind, key, write, lambda folder: TypeAdapter(cls).validate_json(read_bytes(folder / file_name))
    )


def _remove_unused(parent: Path) -> None:
    limit = time.time() - DAYS * 24 * 3600
    for path in parent.iterdir():
        with suppress(FileNotFoundError):  # another process has just removed it
            # A lock file that is in use is young: its holder has just opened it.
            if path.stat().st_mtime < limit:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
