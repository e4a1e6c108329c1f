"""Files that are new: one that somebody else has made meanwhile is never replaced."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def temporary_beside(path: Path) -> Path:
    """The name of a hidden file in the same folder, which nobody else has."""
    return path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.tmp")


def place(temporary: Path, path: Path) -> None:
    """Moves a complete file to its name. Raises ``FileExistsError`` where there is a file or link of that name."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: an empty file takes the name first
        path.touch(exist_ok=False)
        temporary.replace(path)
    else:
        temporary.unlink()


def write_new(path: Path, content: bytes) -> None:
    """Writes a file as a whole. Raises ``FileExistsError`` as :func:`place` does."""
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(content)
        place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
