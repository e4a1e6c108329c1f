"""What is kept between runs and can be made again: converted rows, their tokens. One folder each.

An entry is made once, by one process while others wait, and is there only when it is whole. What nobody has used for
:data:`DAYS` days goes when something new is kept.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from trainables.storage import files
from trainables.storage.home import home
from trainables.storage.locks import locked

DAYS = 30


def entry(kind: str, key: str, write: Callable[[Path], None]) -> Path:
    """The folder of ``kind`` that ``key``, a hash, names; ``write`` fills it if it isn't there yet."""
    folder = home() / kind / key[:16]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock")):
            if not folder.exists():
                _forget_unused(folder.parent)
                with files.atomic_folder(folder) as unfinished:
                    write(unfinished)
    # Its time says when it was last used; one of somebody else's is read all the same.
    _touch(folder)
    return folder


def _touch(folder: Path) -> None:
    try:
        folder.touch()
    except OSError:
        return


def _forget_unused(place: Path) -> None:
    limit = time.time() - DAYS * 24 * 3600
    for path in place.iterdir():
        # A lock that somebody holds is young: whoever holds it has just opened it.
        if path.stat().st_mtime < limit:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
