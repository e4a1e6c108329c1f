"""A folder of files at a URL (``s3://``, ``gs://``, any that fsspec knows): read, written and listed, with retries.

Files are written as a whole: a reader sees a complete file or none. Every call is retried for
:data:`PATIENCE_SECONDS` before it fails with :class:`StorageError`.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from trainables.storage import files, outage, urls
from trainables.storage.names import UnsafeName, checked_name, is_safe, within

PATIENCE_SECONDS = outage.PATIENCE_SECONDS  # for how long a failing call is retried
REPORT_SECONDS = 5.0  # how long a call has to fail before that is reported
PAUSES = (0.5, 15.0)  # seconds between tries: the first pause, doubled each time up to the last
PARALLEL_TRANSFERS = 16
SMALL_BYTES = 8 * 2**20  # up to this size a file is read at once, so that it is sent as it is at one moment
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# Of names that the local disk can't have.
NO_NAME = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR)

T = TypeVar("T")


class StorageError(OSError):
    """A call to a store failed until the patience was over; says which call, where and why."""


@dataclass(frozen=True)
class Entry:
    """A file of a store: its size in bytes, and when it was written (seconds since 1970) if the store says so."""

    size: int
    modified: float | None = None


class Store:
    """The files under a URL, by their names relative to it.

    >>> Store("s3://bucket/runs/methods").read("spec.yaml")  # doctest: +SKIP
    b'name: methods...'
    """

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS) -> None:
        """Raises ``ValueError`` if no store can be opened at ``url``. ``patience`` is in seconds."""
        self.url, self.patience = urls.checked(url), patience
        self._fs, root = urls.filesystem(self.url)
        self._root = root.rstrip("/")
        self._is_object_store = urlsplit(url).scheme in urls.OBJECT_STORES
        self._report: Callable[[str], Any] = lambda message: None

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def report_failures_to(self, report: Callable[[str], Any]) -> None:
        """Has ``report`` called with a message at each retry of a call that has failed for some seconds."""
        self._report = report

    def limit_patience(self, seconds: float) -> None:
        """From now on calls are retried for this long, those under way included."""
        self.patience = seconds

    def within(self, name: str) -> Store:
        """The store of a folder in this one."""
        return Store(f"{self.url}/{checked_name(name)}", self.patience)

    def read(self, name: str) -> bytes | None:
        """A file's content; ``None`` if there is no such file."""
        try:
            return bytes(self._retried(f"reading {name}", lambda: self._fs.cat_file(self._path(name))))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, replacing an existing one."""

        def write(path: str) -> None:
            self._fs.pipe_file(path, content)

        self._write_whole(name, write)

    def create(self, name: str, content: bytes) -> bool:
        """Writes a file unless it exists; returns whether it was written.

        If two callers do this at once, one gets ``False``, provided the store can tell: S3, GCS and local disks can.
        """
        if self.read(name) is not None:
            return False
        self._make_folder_of(name)
        try:
            self._retried(
                f"creating {name}",
                lambda: self._fs.pipe_file(self._path(name), content, mode="create"),
            )
        except FileExistsError:
            # An earlier try may have succeeded although its answer was lost.
            return self.read(name) == content
        except NotImplementedError:
            self.write(name, content)
        return True

    def list(self, under: str = "") -> dict[str, Entry]:
        """All files whose names are ``under/...``, at any depth.

        Raises ``UnsafeName`` where one of them could lead out of a folder that it is copied to, or is a folder, too.
        """
        folder = self._path(under)
        try:
            listing = self._retried(f"listing {under}", lambda: self._fs.find(folder, detail=True))
        except FileNotFoundError:
            return {}
        # fsspec lists full paths in no fixed order, and files that are still being written (``.tmp``).
        by_name = {path[len(self._root) + 1 :]: _entry(info) for path, info in sorted(listing.items())}
        # Some tools mark folders by an object of that name, with a slash at its end or without.
        folders = {str(folder) for name in by_name for folder in PurePosixPath(name).parents}
        found = {
            name: entry
            for name, entry in by_name.items()
            if name and not name.endswith((".tmp", "/")) and (entry.size or name not in folders)
        }
        for name in found:
            self._check(name, folders)
        return found

    def _check(self, name: str, folders: Collection[str]) -> None:
        if not is_safe(name):
            raise UnsafeName(
                f"{self.url}: {name!r} is no name of a file within a folder: it could lead out of the folder"
            )
        if name in folders:
            raise UnsafeName(
                f"{self.url}: {name} is the name of a file, and of a folder with files: no disk can have both; remove "
                "one of them"
            )

    def push(self, folder: Path, names: Iterable[str]) -> None:
        """Copies files of a local folder to the store, several at a time, in no order.

        Raises ``FileNotFoundError`` if a local file does not exist.
        """
        _for_each(lambda name: self._push(folder / name, name), names)

    def pull(self, names: Iterable[str], folder: Path, entries: Mapping[str, Entry] | None = None) -> None:
        """Copies files of the store into a local folder; ``entries`` are their sizes and times from :meth:`list`.

        Raises ``FileNotFoundError`` if the store has no such file, and ``OSError`` at once if the local disk is full.
        """
        _for_each(lambda name: self._pull(name, within(folder, name), (entries or {}).get(name)), names)

    def remove(self, names: Iterable[str]) -> None:
        """Removes files; those that do not exist are ignored."""
        _for_each(self._remove, names)

    def _push(self, path: Path, name: str) -> None:
        if path.stat().st_size <= SMALL_BYTES:
            self.write(name, path.read_bytes())
        else:
            self._write_whole(name, lambda destination: self._fs.put_file(str(path), destination))

    def _write_whole(self, name: str, write: Callable[[str], None]) -> None:
        """Calls ``write`` with a path, in a way that no reader sees half of the file."""

        def put() -> None:
            self._make_folder_of(name)
            with self._hidden_until_written(name) as path:
                write(path)

        try:
            self._retried(f"writing {name}", put)
        except FileNotFoundError as error:  # the bucket does not exist
            raise StorageError(self._failure(f"writing {name}", error)) from error

    @contextmanager
    def _hidden_until_written(self, name: str) -> Iterator[str]:
        # An object appears when its upload is complete; elsewhere the file is written under another name and renamed.
        folder, _, last = self._path(name).rpartition("/")
        path = self._path(name) if self._is_object_store else f"{folder}/.{last}.{secrets.token_hex(4)}.tmp"
        yield path
        if not self._is_object_store:
            self._fs.mv(path, self._path(name))

    def _make_folder_of(self, name: str) -> None:
        """Creates the folder of a file; object stores have no folders."""
        if not self._is_object_store:
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)

    def _pull(self, name: str, path: Path, entry: Entry | None) -> None:
        def get() -> None:
            with files.atomic(path) as temporary:
                self._fs.get_file(self._path(name), str(temporary))
                arrived = temporary.stat().st_size
                # A file may have grown since it was listed, but not shrunk.
                if entry is not None and arrived < entry.size:
                    raise OSError(f"{arrived} of {entry.size} bytes arrived")
            if entry is not None and entry.modified is not None:
                os.utime(path, (entry.modified, entry.modified))

        self._retried(f"reading {name}", get, final_errors=(*DISK_FULL, *NO_NAME))

    def _remove(self, name: str) -> None:
        try:
            self._retried(f"removing {name}", lambda: self._fs.rm_file(self._path(name)))
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self._root}/{checked_name(name)}" if name else self._root

    def _failure(self, action: str, error: BaseException) -> str:
        return f"{self.url}: {action} failed: {urls.first_line(error)}"

    def _retried(self, action: str, call: Callable[[], T], final_errors: tuple[int, ...] = ()) -> T:
        """The result of ``call``, which is retried while it fails, with growing pauses.

        Raises :class:`StorageError` instead of a pause that would end after the patience is over. Not retried are
        answers (the file does not exist, or exists already) and ``OSError`` with an ``errno`` among ``final_errors``.
        """

        def may_pass(error: BaseException) -> bool:
            if isinstance(error, FileNotFoundError | FileExistsError | NotImplementedError | UnsafeName):
                return False
            # Each kind of store has exceptions of its own; Ctrl-C is none of them.
            return isinstance(error, Exception) and not (
                isinstance(error, OSError) and error.errno in final_errors
            )

        def report(state: RetryCallState) -> None:
            if (state.seconds_since_start or 0.0) > REPORT_SECONDS:
                self._report(f"{self._failure(action, _error(state))}; it is tried again")

        def fail(state: RetryCallState) -> T:
            raise StorageError(self._failure(action, _error(state))) from _error(state)

        retrying = Retrying(
            retry=retry_if_exception(may_pass),
            wait=wait_exponential(multiplier=PAUSES[0], max=PAUSES[1]),
            # Asked at each failure: the patience may have been limited since the first.
            stop=lambda state: (state.seconds_since_start or 0.0) + state.upcoming_sleep > self.patience,
            before_sleep=report,
            retry_error_callback=fail,
        )
        return retrying(call)


def _error(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome is not None else None
    assert error is not None
    return error


def _entry(info: Mapping[str, Any]) -> Entry:
    """fsspec's description of a file; each file system names the time differently."""
    times = (info.get(key) for key in ("LastModified", "mtime", "updated", "created"))
    written = next((time for time in times if time), None)
    if isinstance(written, str):
        written = datetime.fromisoformat(written)
    return Entry(int(info["size"]), written.timestamp() if isinstance(written, datetime) else written)


def _for_each(function: Callable[[str], None], names: Iterable[str]) -> None:
    """Calls the function for every name, several at a time; raises the first error once all calls have ended.

    An interrupt (Ctrl-C) does not wait for the calls under way.
    """
    names = list(names)
    pool, interrupted = ThreadPoolExecutor(min(PARALLEL_TRANSFERS, len(names) or 1)), True
    try:
        calls = [pool.submit(function, name) for name in names]
        wait(calls)
        # Reached once all calls have ended: only an interrupt ends `wait` earlier.
        interrupted = False
    finally:
        pool.shutdown(wait=not interrupted, cancel_futures=True)
    for call in calls:
        call.result()
