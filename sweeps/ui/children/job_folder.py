"""The folders of jobs, ``home()/ui/jobs/ID``: for this user alone, and complete enough for a restarted UI."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sweeps.ui.children.wrapper import EXIT_CODE, PROCESS
from trainables.storage import files
from trainables.storage.home import home

ID = re.compile(r"[0-9a-f]{16}")
JOB, CANCEL, OUTPUT, LOG, ENDED = "job.json", "cancel", "stdout", "stderr", "ended.json"


def jobs_folder() -> Path:
    """The folder of all jobs, made with mode 0700. Raises ``OSError`` if it is another user's, or a link."""
    folder = home() / "ui" / "jobs"
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        _own_folder(each)
    return folder


def _own_folder(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise OSError(
            f"{folder} is not a folder of this user; remove it, or set PARETUNE_HOME to another folder"
        )
    if info.st_mode & 0o077:
        folder.chmod(0o700)


class JobFolder:
    """The files of one job. What cannot be read counts as absent: a process may just be writing it, or have died."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Makes the folder, which must not exist."""
        self.path.mkdir(mode=0o700)

    def read(self, name: str) -> dict[str, Any]:
        """A file of the job as JSON; empty without one."""
        try:
            value = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def write(self, name: str, value: Any) -> None:
        files.write_json(self.path / name, value)

    def open_stream(self, name: str) -> IO[bytes]:
        """A new file for a stream of the command's output, for this user alone."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
        return os.fdopen(os.open(self.path / name, flags, 0o600), "wb")

    @property
    def exit_code(self) -> int | None:
        """The exit code that the wrapper wrote; ``None`` without one."""
        try:
            return int((self.path / EXIT_CODE).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    @property
    def processes(self) -> dict[str, Any]:
        """The recorded identities of the ``wrapper`` and the ``command``."""
        return self.read(PROCESS)

    @property
    def cancel_requested(self) -> bool:
        return (self.path / CANCEL).exists()

    def modified(self, name: str) -> float | None:
        """When a file was last written, in seconds since 1970."""
        try:
            return (self.path / name).stat().st_mtime
        except OSError:
            return None

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def remove_older(folder: Path, oldest: float) -> None:
    """Removes the folders in a folder that were last changed before ``oldest``, in seconds since 1970."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                shutil.rmtree(entry.path, ignore_errors=True)
