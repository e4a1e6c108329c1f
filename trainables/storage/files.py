"""Files that are written atomically (temporary name, fsync, rename), and hashes of their contents."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; if the block succeeds, its file is synced and renamed to ``path``.

    >>> with atomic(Path("record.json")) as temporary:  # doctest: +SKIP
    ...     temporary.write_text("{}")
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name that nobody can foresee, and a file that didn't exist: a link that somebody put there is not followed.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        with _named(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Gives errors of the system in the block that name no file, as those of a full disk, the file's name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def open_to_append(path: Path, mode: str = "a") -> TextIO:
    """A text file of a fixed name, opened for appending; created where there is none.

    Raises ``OSError`` for a symbolic link: the folder may be somebody else's, and the link lead to any file of this
    user's.
    """
    return cast(TextIO, open(path, mode, encoding="utf-8", opener=_unlinked))  # the caller closes it


def _unlinked(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        message = "it is a symbolic link, which is not followed for writing; remove it"
        raise OSError(errno.ELOOP, message, path) from None


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` to ``path`` atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, atomically. Raises ``ValueError`` for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty temporary folder; if the block succeeds, it replaces ``path``.

    An existing folder at ``path`` is moved aside only once the new one is complete, and then removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    temporary.mkdir()
    try:
        with _named(path):
            yield temporary
        follow_umask(temporary)
        sync(temporary)
        aside = temporary.with_suffix(".old")
        if path.exists():
            path.rename(aside)  # removing it takes longer, and would leave half of it if interrupted
        # A process killed just before this line leaves nothing at `path`; the old folder is in `aside`.
        temporary.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def follow_umask(folder: Path) -> None:
    """Gives all files under ``folder`` the mode that new files of this process get: safetensors writes for the owner
    alone, and copies have their source's mode.
    """
    mode = 0o666 & ~umask()
    for file in _own_files(folder):
        file.chmod(mode)


def sync(folder: Path) -> None:
    """Returns once all files under ``folder`` are on the disk."""
    for file in _own_files(folder):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _own_files(folder: Path) -> Iterator[Path]:
    # A link leads to a file that is somebody else's, whose mode stays.
    return (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def umask() -> int:
    """The permissions that new files of this process don't get; reading them changes nothing for its other threads."""
    with Path("/proc/self/status").open(encoding="ascii") as status:
        return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))


def canonical(value: Any) -> str:
    """JSON with sorted keys and without spaces, so that equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_state(path: Path) -> list[Any]:
    """What changes when a file is written to or replaced: its path, size and time, and its inode.

    A file that is replaced by a rename may keep its size and time, but has another inode.
    """
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]


def folder_bytes(folder: Path) -> int:
    """The size of all files under ``folder``, in bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
