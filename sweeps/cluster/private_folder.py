"""The folder of this process's own Ray: its sockets, logs and temporary files, for this user alone, removed at the end.

By default Ray keeps them in /tmp/ray, which every user of the machine may write to: whoever replaces a socket there
speaks to the driver in its place.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainables.storage import files

PREFIX = "paretune-ray-"
# Ray opens the folder that it is given to everybody (0777), so it gets one within the private folder, and `local_ray`
# closes what is in it.
RAY = "ray"
LOCK = "lock"  # a file in the folder, locked as long as the process runs that made it
# A socket's path has at most 107 bytes (unix(7)), and the longest that Ray adds ends with the largest process id.
MAX_PATH = 107 - len(f"/{RAY}/session_2026-01-31_12-00-00_123456_4194304/sockets/plasma_store")
YOUNG_SECONDS = 60.0  # a folder may just have been made, and not be locked yet


@contextmanager
def private_folder(keep_leftovers: bool = False) -> Iterator[Path]:
    """A new folder with mode 0700, which is removed when the block ends.

    Folders that killed processes of this user left behind are removed first, unless they are to be examined.
    """
    for folder in () if keep_leftovers else leftovers():
        shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_place()))
    try:
        with files.open_to_append(folder / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def private_temporary_files(keep_leftovers: bool = False) -> Iterator[Path]:
    """Keeps the temporary files of this process and of those that it starts in a private folder.

    Ray's end kills processes before they have removed their own, and libraries remove none: W&B's, torch's compiler's.
    """
    before, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    with private_folder(keep_leftovers) as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            os.environ.pop("TMPDIR")
            os.environ |= {"TMPDIR": variable} if variable is not None else {}


def _place() -> Path:
    """The folder for temporary files, or /tmp where its path is too long for a socket in it."""
    usual = Path(tempfile.gettempdir())
    length = len(os.fsencode(usual)) + len(f"/{PREFIX}") + 8  # mkdtemp adds 8 characters
    return usual if length <= MAX_PATH else Path("/tmp")


def leftovers() -> list[Path]:
    """The folders of this user whose processes have ended without removing them."""
    found, usual = [], Path(tempfile.gettempdir())
    own_place = usual.parent if usual.name.startswith(PREFIX) else usual  # within `private_temporary_files`
    for place in {own_place, Path("/tmp")}:
        for folder in place.glob(f"{PREFIX}*"):
            with suppress(OSError):  # another process has just removed it
                info = folder.lstat()
                own = stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid()
                if own and time.time() - info.st_mtime > YOUNG_SECONDS and not _is_locked(folder / LOCK):
                    found.append(folder)
    return sorted(found)


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with files.open_to_append(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
