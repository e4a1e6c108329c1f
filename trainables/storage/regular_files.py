"""Pipes, devices and links in folders of somebody else: a pipe or device is read without end, a link leads out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from trainables.storage.damaged_files import DamagedFile, display_name


def first_endless(folder: Path) -> Path | None:
    """The first entry of a folder that is neither a file nor a folder, links followed; ``None`` if there is none.

    A named pipe keeps its reader waiting for ever, and a device like ``/dev/zero`` gives bytes until the memory is
    full. Links that lead to nothing are not among them.
    """
    with os.scandir(folder) as entries:
        found = [
            Path(entry.path)
            for entry in entries
            if not (entry.is_file() or entry.is_dir() or _leads_nowhere(entry))
        ]
    return min(found, default=None)


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def links(folder: Path) -> list[Path]:
    """The symbolic links in a folder, sorted; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []


def require_own(path: Path) -> Path:
    """``path``, a file or folder that is sent as a whole.

    Raises ``DamagedFile`` where it is a link, a pipe or a device, or holds one: through a link in somebody else's
    folder, files of this user would go with it.
    """
    inside = (Path(parent) / name for parent, *names in os.walk(path) for some in names for name in some)
    for entry in (path, *inside):
        if entry.is_symlink() or (entry.exists() and not (entry.is_file() or entry.is_dir())):
            what = "is a link, a pipe or a device: what it leads to would be sent"
            raise DamagedFile(f"{display_name(entry)} {what}; put a file there, or remove it")
    return path


def tail(path: Path, limit: int) -> str:
    """The last bytes of a file as text, from the beginning of a line: the rest of a line may lack what marks a secret.

    Nothing for a file that isn't there, and for a link, a pipe or a device.
    """
    try:
        # Not to wait for the writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            content = file.read(limit)
    except OSError:
        return ""
    if size > limit:
        content = content.partition(b"\n")[2]
    return content.decode("utf-8", "replace")
