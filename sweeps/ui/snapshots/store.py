"""The runs that somebody looks at, read again and again in the background; pages get the last result at once.

Each run has a thread of its own while it is looked at, so that a slow disk or store holds up no page and no other run.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from sweeps.ui.snapshots.answers import answers
from sweeps.ui.snapshots.computed_json import ComputedJson
from sweeps.ui.snapshots.followed import Followed, unread
from trainables.storage.urls import is_url

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from sweeps.ui.run_index import RunEntry, RunIndex
    from sweeps.ui.snapshots.reader import RunReader

FOLDER_SECONDS, URL_SECONDS = 1.0, 10.0  # between two reads of a run whose page is open
HOME_FOLDER_SECONDS, HOME_URL_SECONDS = 3.0, 30.0  # of one that is only in the list of runs
LONGEST_PAUSE = 5.0  # between two reads that take long, unless one takes longer itself
LOOKED_AT_SECONDS = 30.0  # after the last look, reading ends
AT_ONCE = 8  # reads for the list of runs
PATIENCE_SECONDS = 5.0  # for one of them; a disk that hangs must not hold up the others


class SnapshotStore:
    """Snapshots of the runs of an index."""

    def __init__(self, runs: RunIndex) -> None:
        self.runs = runs
        self.answers = answers()
        self.of_trials = ComputedJson()
        self._followed: dict[str, Followed] = {}
        self._lock = threading.Lock()
        self._home_reads = threading.BoundedSemaphore(AT_ONCE)
        self._closed = threading.Event()

    def follow(self, entry: RunEntry, home: bool = False) -> Followed:
        """What is known of a run; it is read again and again from now on, until nobody has looked for a while."""
        with self._lock:
            followed = self._followed.setdefault(entry.key, Followed(entry))
            until = time.monotonic() + LOOKED_AT_SECONDS
            if home:
                followed.home_until = until
            else:
                followed.page_until = until
            if followed.thread is None and not self._closed.is_set():
                followed.thread = threading.Thread(
                    target=self._read_on, args=(followed,), name=f"run {entry.name}", daemon=True
                )
                followed.thread.start()
        return followed

    def state(self, key: str, wait: float = 0.0) -> Followed | None:
        """The run with a key, waited for up to ``wait`` seconds if it was never read; ``None`` without such a run."""
        entry = self.runs.get(key)
        if entry is None:
            return None
        followed = self.follow(entry)
        followed.first_read.wait(wait)
        return followed

    def summaries(self) -> list[dict[str, Any]]:
        """A summary of each run, as far as they are read, the newest first."""
        found = [self._summary(entry) for entry in self.runs.entries()]
        return sorted(found, key=lambda each: -(each["changed"] or each["as_of"] or 0.0))

    def _summary(self, entry: RunEntry) -> dict[str, Any]:
        try:
            return self.follow(entry, home=True).summary()
        except Exception as error:  # one bad run must not hide the others
            return unread(entry, _in_words(error))

    def close(self) -> list[asyncio.Task[Any]]:
        """Ends all reading; threads in a read that hangs end with the process. Returns computations that are still
        ending.
        """
        self._closed.set()
        ending = [*self.answers.close(), *self.of_trials.close()]
        with self._lock:
            for followed in self._followed.values():
                if followed.copy is not None:
                    followed.copy.close()
        return ending

    def _read_on(self, followed: Followed) -> None:
        while not self._closed.is_set():
            self._read(followed)
            followed.first_read.set()
            now = time.monotonic()
            if now < followed.page_until:
                pause = URL_SECONDS if is_url(followed.entry.location) else FOLDER_SECONDS
            elif now < followed.home_until:
                pause = HOME_URL_SECONDS if is_url(followed.entry.location) else HOME_FOLDER_SECONDS
            else:
                with self._lock:
                    if time.monotonic() >= max(followed.page_until, followed.home_until):
                        self._forget(followed)
                        return
                continue
            # A page that is opened meanwhile need not wait as long as the list of runs does.
            self._wait(followed, pause_after(followed.read_seconds, pause))

    def _forget(self, followed: Followed) -> None:
        """Drops what is known of a run that nobody looks at: many runs together would fill the memory."""
        followed.thread = None
        self._followed.pop(followed.entry.key, None)
        if followed.copy is not None:
            followed.copy.close()

    def _wait(self, followed: Followed, seconds: float) -> None:
        until, had_page = time.monotonic() + seconds, time.monotonic() < followed.page_until
        while time.monotonic() < until and not self._closed.wait(min(0.2, seconds)):
            if not had_page and time.monotonic() < followed.page_until:
                return

    def _read(self, followed: Followed) -> None:
        opened = time.monotonic() < followed.page_until
        held = not opened and self._home_reads.acquire(timeout=PATIENCE_SECONDS)
        began = time.monotonic()
        try:
            with followed.lock:
                reader = self._reader(followed)
                began = time.monotonic()  # what the first read imports may take long, and no other does
                if followed.copy is not None:
                    followed.copy.update()
                followed.snapshot, followed.problem = reader.read(), None
        # Whatever a folder of somebody else's has in it, the page says so.
        except Exception as error:
            followed.problem = _in_words(error)
        finally:
            followed.read_seconds = time.monotonic() - began
            if held:
                self._home_reads.release()

    def _reader(self, followed: Followed) -> RunReader:
        """Imported here, in the thread: pyarrow takes a second."""
        if followed.reader is None:
            from sweeps.ui.snapshots.reader import RunReader
            from sweeps.ui.snapshots.url_copy import UrlCopy

            entry = followed.entry
            folder: Path | None = entry.folder
            if folder is None:
                followed.copy = UrlCopy(entry.location)
                followed.reader = RunReader(
                    entry.key, entry.location, followed.copy.folder, followed.copy.holder
                )
            else:
                followed.reader = RunReader(entry.key, entry.location, folder)
        return followed.reader


def pause_after(read_seconds: float, least: float) -> float:
    """Seconds until the next read: a fifth of the time goes into reads that take long, half of it where that would
    leave a page alone for longer than :data:`LONGEST_PAUSE`.

    >>> [pause_after(seconds, 1.0) for seconds in (0.1, 0.5, 3.0, 20.0)]
    [1.0, 2.0, 5.0, 20.0]
    """
    return max(least, min(4 * read_seconds, LONGEST_PAUSE), read_seconds)


def _in_words(error: Exception) -> str:
    from trainables.system.redaction import redacted
    from trainables.system.shown_text import shown

    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return shown(
        redacted(line if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {line}")
    )
