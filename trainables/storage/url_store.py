"""A folder of files at a URL (``s3://``, ``gs://``, any that fsspec knows): read, written and listed, tried again.

What is there is whole: a reader sees a file as it was written or not at all. Every call is tried again for
:data:`PATIENCE_SECONDS` before it fails with :class:`StorageError`.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from trainables.storage import files, outage, urls

PATIENCE_SECONDS = outage.PATIENCE_SECONDS  # that a store may fail before what is asked of it has failed
TROUBLE_SECONDS = 5.0  # from when on a failing call is worth a word
PAUSES = (0.5, 15.0)  # between tries: the first, doubled each time up to the last
AT_ONCE = 16  # files on their way at the same time
SMALL = 8 * 2**20  # a file of so many bytes is sent as it is at one moment, however it grows meanwhile
FULL = (errno.ENOSPC, errno.EDQUOT)

T = TypeVar("T")


class StorageError(OSError):
    """What a store was asked for failed for as long as there was patience; says what, where and why."""


@dataclass(frozen=True)
class Entry:
    """A file of a store: its bytes, and when it was written (seconds since 1970) where the store tells."""

    size: int
    modified: float | None = None


class Store:
    """The files under a URL, by their names relative to it.

    >>> Store("s3://bucket/runs/methods").read("spec.yaml")  # doctest: +SKIP
    b'name: methods...'
    """

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS) -> None:
        """Raises ``ValueError`` for a URL that no store can be made of."""
        self.url, self.patience = urls.checked(url), patience
        self._fs, root = urls.filesystem(self.url)
        self._root = root.rstrip("/")
        self._objects = urlsplit(url).scheme in urls.OBJECTS
        self.say: Callable[[str], Any] = lambda text: None  # hears of trouble that lasts

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def within(self, name: str) -> Store:
        """The store of a folder in this one."""
        return Store(f"{self.url}/{name}", self.patience)

    def read(self, name: str) -> bytes | None:
        """A file's bytes; ``None`` where there is none."""
        try:
            return bytes(self._tried(f"reading {name}", lambda: self._fs.cat_file(self._path(name))))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, over what was there."""

        def write(place: str) -> None:
            self._fs.pipe_file(place, content)

        self._put(name, write)

    def create(self, name: str, content: bytes) -> bool:
        """Writes a file unless there is one; whether it did.

        Of two who do this at once one gets ``False``, where the store can tell: S3, GCS and local disks can.
        """
        if self.read(name) is not None:
            return False
        self._make_room(name)
        try:
            self._tried(
                f"creating {name}",
                lambda: self._fs.pipe_file(self._path(name), content, mode="create"),
            )
        except FileExistsError:
            return self.read(name) == content  # an earlier try may have come through, and its answer not
        except NotImplementedError:
            self.write(name, content)
        return True

    def list(self, under: str = "") -> dict[str, Entry]:
        """All files whose names are ``under/...``, however deep."""
        place = self._path(under)
        try:
            found = self._tried(f"listing {under}", lambda: self._fs.find(place, detail=True))
        except FileNotFoundError:
            return {}
        named = {path[len(self._root) + 1 :]: info for path, info in sorted(found.items())}
        return {name: _entry(info) for name, info in named.items() if not name.endswith(".tmp")}

    def push(self, folder: Path, names: Iterable[str]) -> None:
        """Brings files of a local folder here, several at a time, in no order.

        Raises ``FileNotFoundError`` for one that is not there.
        """
        _each(lambda name: self._push(folder / name, name), names)

    def pull(self, names: Iterable[str], folder: Path, known: Mapping[str, Entry] | None = None) -> None:
        """Brings files from here into a local folder. ``known`` is what :meth:`list` said of them.

        Raises ``FileNotFoundError`` for one that is not there, ``OSError`` at once when the disk here is full.
        """
        _each(lambda name: self._pull(name, folder / name, (known or {}).get(name)), names)

    def remove(self, names: Iterable[str]) -> None:
        """Removes files; one that isn't there needs no removing."""
        _each(self._remove, names)

    def _push(self, path: Path, name: str) -> None:
        if path.stat().st_size <= SMALL:
            self.write(name, path.read_bytes())
        else:
            self._put(name, lambda place: self._fs.put_file(str(path), place))

    def _put(self, name: str, write: Callable[[str], None]) -> None:
        """Has ``write`` write a file so that nobody sees half of it."""

        def put() -> None:
            self._make_room(name)
            with self._unseen(name) as place:
                write(place)

        try:
            self._tried(f"writing {name}", put)
        except FileNotFoundError as error:  # the bucket, say
            raise StorageError(f"{self.url}: writing {name} failed: {urls.said(error)}") from error

    @contextmanager
    def _unseen(self, name: str) -> Iterator[str]:
        folder, _, last = self._path(name).rpartition("/")
        place = self._path(name) if self._objects else f"{folder}/.{last}.{secrets.token_hex(4)}.tmp"
        yield place
        if not self._objects:
            self._fs.mv(place, self._path(name))

    def _make_room(self, name: str) -> None:
        """Makes the folder that ``name`` is to be in, where there are folders."""
        if not self._objects:
            self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)

    def _pull(self, name: str, path: Path, entry: Entry | None) -> None:
        def get() -> None:
            with files.atomic(path) as temporary:
                self._fs.get_file(self._path(name), str(temporary))
                arrived = temporary.stat().st_size
                if entry is not None and arrived < entry.size:
                    raise OSError(f"{arrived} of {entry.size} bytes arrived")
            if entry is not None and entry.modified is not None:
                os.utime(path, (entry.modified, entry.modified))

        self._tried(f"reading {name}", get, FULL)

    def _remove(self, name: str) -> None:
        try:
            self._tried(f"removing {name}", lambda: self._fs.rm_file(self._path(name)))
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _tried(self, what: str, do: Callable[[], T], answers: tuple[int, ...] = ()) -> T:
        """Does it, again and again while it fails. Raises :class:`StorageError` once there is no patience left.

        That something is not there, or already there, is an answer, and so are errors of the numbers ``answers``.
        """
        began, pause = time.monotonic(), PAUSES[0]
        while True:
            try:
                return do()
            except (FileNotFoundError, FileExistsError, NotImplementedError):
                raise
            except Exception as error:  # each kind of store has its own
                failed = f"{self.url}: {what} failed: {urls.said(error)}"
                if isinstance(error, OSError) and error.errno in answers:
                    raise
                if time.monotonic() + pause > began + self.patience:
                    raise StorageError(failed) from error
                if time.monotonic() > began + TROUBLE_SECONDS:
                    self.say(f"{failed}; it is tried again")
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])


def _entry(info: Mapping[str, Any]) -> Entry:
    times = (info.get(key) for key in ("LastModified", "mtime", "updated", "created"))
    found = next((time for time in times if time), None)
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    return Entry(int(info["size"]), found.timestamp() if isinstance(found, datetime) else found)


def _each(do: Callable[[str], None], names: Iterable[str]) -> None:
    """Does it for every name, several at a time; raises the first error once all have ended.

    Whoever is interrupted doesn't wait for the others.
    """
    names = list(names)
    pool, interrupted = ThreadPoolExecutor(min(AT_ONCE, len(names) or 1)), True
    try:
        done = [pool.submit(do, name) for name in names]
        wait(done)
        interrupted = False
    finally:
        pool.shutdown(wait=not interrupted, cancel_futures=True)
    for each in done:
        each.result()
