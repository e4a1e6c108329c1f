"""The driver's copy of a run folder that is at a URL: search, progress, tables and report work in it as in any other.

What the driver writes is pushed soon after it has changed, in such an order that the run can be resumed from whatever
is at the URL by then. What trials write is pulled when they have ended, except models and checkpoints, which stay at
the URL.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from sweeps.runs.layout import LOG, REQUESTS, STOP
from sweeps.runs.mirror_rules import (
    LAST_RANK,
    TRACKER_RANK,
    belongs_at_url,
    hidden,
    needed_by_driver,
    push_rank,
)
from trainables import results
from trainables.results import Record
from trainables.storage import files
from trainables.storage.url_store import Entry, Store
from trainables.system.background import Throttle, call_periodically

SYNC_SECONDS = 2.0  # between synchronizations of folder and URL
CURVES_SECONDS = 5.0  # between pulls of the curves of trials in training
TRACKERS_SECONDS = 60.0  # between pushes of what trackers write
MESSAGE_SECONDS = 60.0  # between messages about a store that fails
LAST_SECONDS = 20.0  # for the last pushes to a failing store, once the sweep was interrupted or gave up


class RunMirror(Protocol):
    """Keeps the driver's run folder and the run, wherever it is, in the same state."""

    @property
    def store(self) -> Store | None:
        """The run's store; ``None`` where the folder is the run."""

    @property
    def failure(self) -> OSError | None:
        """The error of a store that failed for so long that the sweep had to end; ``None`` otherwise."""

    @property
    def usable(self) -> bool:
        """Whether the run can be written: its store works, and no other process holds it."""

    def fetch(self) -> None:
        """Updates the folder from the run."""

    def restart(self) -> None:
        """Starts again from the present state of the run, after the sweep had to end."""

    def begin(self, trial_id: str) -> bool:
        """Copies a trial that is about to start to the run; returns whether it may start."""

    def end(self, trial_id: str, lost: str | None = None) -> bool:
        """Copies the results of a trial that has ended into the folder; returns whether they are there.

        ``lost``: the record, as JSON, of a trial whose node could not write it to the run.
        """

    def report_outages(self, log: Callable[[str], None]) -> None:
        """Sends messages about a store that fails to ``log``."""

    def hurry(self) -> None:
        """Waits only briefly for a store that fails, from now on."""

    def push_all(self) -> None:
        """Copies all files of the folder that have changed to the run. Raises ``StorageError``."""


class NoMirror:
    """For a run whose own folder the driver works in: there is nothing to keep alike."""

    store: Store | None = None
    failure: OSError | None = None
    usable = True

    def fetch(self) -> None:
        pass

    def restart(self) -> None:
        pass

    def begin(self, trial_id: str) -> bool:
        return True

    def end(self, trial_id: str, lost: str | None = None) -> bool:
        return True

    def report_outages(self, log: Callable[[str], None]) -> None:
        pass

    def hurry(self) -> None:
        pass

    def push_all(self) -> None:
        pass


class Mirror:
    """``folder`` mirrors ``store``."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self._closed = False
        self._failure: OSError | None = None
        self._log_message: Callable[[str], None] = lambda text: None
        store.report_failures_to(Throttle(MESSAGE_SECONDS).limit(lambda text: self._log_message(text)))
        self._known: dict[str, tuple[int, int]] = {}  # size and time of files that are the same at the URL
        self._training: set[str] = set()
        self._pushing = threading.Lock()  # the driver's thread and the one that synchronizes both push
        self._curves_due = self._trackers_due = 0.0

    @property
    def failure(self) -> OSError | None:
        return self._failure

    @property
    def usable(self) -> bool:
        return not self._closed and self._failure is None

    def close(self) -> None:
        """Stops pushing for good: another driver holds the run now."""
        self._closed = True

    def report_outages(self, log: Callable[[str], None]) -> None:
        self._log_message = log

    def fetch(self) -> None:
        """Updates the folder from the URL, except for models and checkpoints."""
        # What an earlier session left here must not be pushed over newer files. Hidden files stay: among them
        # is the lock that this process holds.
        for path in self.folder.iterdir():
            if not path.name.startswith(".") and path.name != LOG:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        there = self.store.list()
        keep_log = (self.folder / LOG).exists()  # this very process, if it was detached, writes to it
        self._pull(
            [name for name in there if needed_by_driver(name) and not (keep_log and name == LOG)], there
        )

    def restart(self) -> None:
        """Starts again from the present state at the URL, after the sweep had to end."""
        self._failure = None
        # Pushed first, because fetching removes what is only here.
        self.push_all()
        self.fetch()

    def begin(self, trial_id: str) -> bool:
        """Pushes a trial that is about to start, for its node and for a later resume; returns whether it may start."""
        self._training.add(trial_id)
        return self._must(self.push)

    def end(self, trial_id: str, lost: str | None = None) -> bool:
        """Pulls the results of a trial that has ended; returns whether they are in the folder now.

        ``lost`` is the record, as JSON, of a trial whose node could not write it to the URL.
        """
        self._training.discard(trial_id)
        if lost is not None:
            results.write_record(self.folder / "trials" / trial_id, Record.model_validate_json(lost))
            return True
        return self._must(partial(self._pull_results, trial_id))

    def _must(self, action: Callable[[], None]) -> bool:
        """Runs what the sweep can't continue without: if that fails, the sweep ends as by Ctrl-C (``failure``)."""
        try:
            action()
        except OSError as error:
            # Raised, Tune would take it for a failure of the trial, and run that again.
            self._failure = error
            signal.raise_signal(signal.SIGTERM)
            return False
        return True

    def _pull_results(self, trial_id: str) -> None:
        there = self.store.list(f"trials/{trial_id}")
        record = f"trials/{trial_id}/record.json"
        names = [name for name in there if needed_by_driver(name) and not name.endswith("/config.json")]
        # The record last: a trial that has one counts as complete.
        self._pull([name for name in names if name != record], there)
        self._pull([name for name in names if name == record], there)

    def push_all(self) -> None:
        """Pushes all that has changed, what trackers write too. Raises ``StorageError``."""
        self.push(last=True)

    def push(self, last: bool = False) -> None:
        """Pushes what has changed since it was pushed or pulled; what trackers write now and then, or with ``last``.

        Raises ``StorageError``.
        """
        with self._pushing:
            if self._closed:
                return
            slow = last or time.monotonic() > self._trackers_due
            # Stamps are from before the push, so a file that changes while it is pushed is pushed again.
            changed = {name: stamp for name, stamp in self._stamps() if self._known.get(name) != stamp}
            for rank in range(LAST_RANK + 1):
                names = [name for name in changed if push_rank(name) == rank]
                if rank < TRACKER_RANK or slow:
                    # Noted rank by rank, so that after a failure the next push goes on in the same order.
                    self._push(names)
                    self._known |= {name: changed[name] for name in names}
            if slow:
                self._trackers_due = time.monotonic() + TRACKERS_SECONDS

    def hurry(self) -> None:
        """Waits only briefly for a store that fails, from now on."""
        self.store.limit_patience(LAST_SECONDS)

    def _push(self, names: list[str]) -> None:
        try:
            self.store.push(self.folder, names)
        except FileNotFoundError:  # a file has just been removed
            self.store.push(self.folder, [name for name in names if (self.folder / name).exists()])

    @contextmanager
    def following(self) -> Iterator[None]:
        """Synchronizes folder and URL until the block has ended. Raises ``StorageError`` if the last push fails."""
        try:
            with call_periodically(self._synchronize_if_possible, SYNC_SECONDS):
                try:
                    yield
                finally:
                    # Inside of the periodic calls, because the end of their block waits for one under way.
                    if self._failure is not None:  # the store was waited for long enough
                        self.hurry()
        finally:
            # The failure that ended the sweep is raised by its driver; this last try must not replace it.
            with suppress(OSError) if self._failure is not None else nullcontext():
                self.push_all()

    def _synchronize_if_possible(self) -> None:
        # What fails is tried again next time; what a trial's start or end needs fails in ``begin`` and ``end``.
        with suppress(OSError):
            self._synchronize()

    def _synchronize(self) -> None:
        if self.store.read(STOP) is not None:
            files.write_text(self.folder / STOP, "")  # where the driver's loop looks for it
        self._pull_requests()
        self.push()
        if time.monotonic() > self._curves_due:
            self._pull_curves()
            self._curves_due = time.monotonic() + CURVES_SECONDS

    def _pull_requests(self) -> None:
        """What people asked of single trials since the last call."""
        there = self.store.list(REQUESTS)
        self._pull([name for name in there if not (self.folder / name).exists()], there)

    def _pull_curves(self) -> None:
        for trial_id in sorted(self._training):
            there = self.store.list(f"trials/{trial_id}")
            curve = f"trials/{trial_id}/curve.jsonl"
            # Points are appended to a curve, so another size means that there are new ones.
            if curve in there and there[curve].size != self._known.get(curve, (0, 0))[0]:
                self._pull([curve], there)

    def _pull(self, names: Iterable[str], there: dict[str, Entry]) -> None:
        names = list(names)
        # Under the lock and noted at once, so that no push takes the new files for changes of the driver.
        with self._pushing:
            self.store.pull(names, self.folder, there)
            self._known |= {name: stamp(self.folder / name) for name in names}

    def _stamps(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """The files in the folder that belong at the URL, each with its size and time."""
        for place, folders, names in os.walk(self.folder):
            folders[:] = [each for each in folders if not hidden(each)]
            for path in (Path(place, each) for each in names):
                name = str(path.relative_to(self.folder))
                if belongs_at_url(name):
                    with suppress(FileNotFoundError):  # it has just been removed
                        yield name, stamp(path)


def stamp(path: Path) -> tuple[int, int]:
    """A file's size and time of its last change, in ns; two alike mean the same content."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
