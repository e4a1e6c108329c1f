"""The driver's copy of a run folder that is at a URL: search, progress, tables and report work in it as in any other.

What the driver writes is pushed soon after it has changed, in an order that whatever is there can be resumed from; what
trials leave is pulled when they have ended, but for models and checkpoints, which stay at the URL.
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

from sweeps.runs.layout import LOG, STOP
from sweeps.runs.mirror_rules import LAST_RANK, WANDB_RANK, hidden, order, own, wanted
from trainables import results
from trainables.results import Record
from trainables.storage import files
from trainables.storage.url_store import Entry, Store
from trainables.system.background import repeated

LOOK_SECONDS = 2.0
CURVES_SECONDS = 5.0  # between looks at how far the trials in training are
WANDB_SECONDS = 60.0  # between pushes of W&B's offline runs
SAY_SECONDS = 60.0  # between words about a store that fails
# That a store which fails has to take what is left, when the sweep was interrupted or gave up:
LAST_SECONDS = 20.0


class Mirror:
    """``folder`` mirrors ``store``. ``closed`` once another driver has the run: nothing is pushed any more."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.closed = False
        self.trouble: OSError | None = None  # why the sweep had to end
        self.say: Callable[[str], None] = lambda text: None
        store.say = every(SAY_SECONDS, lambda text: self.say(text))
        self._known: dict[str, tuple[int, int]] = {}  # size and time of files that are the same there
        self._training: set[str] = set()
        self._pushing = threading.Lock()
        self._curves_due = self._wandb_due = 0.0

    @property
    def url(self) -> str:
        return self.store.url

    def fetch(self) -> None:
        """Makes the folder what is at the URL, but for models and checkpoints."""
        for path in self.folder.iterdir():
            if not path.name.startswith(".") and path.name != LOG:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        there = self.store.list()
        log_is_here = (self.folder / LOG).exists()  # a driver of its own is writing it just now
        self._pull([name for name in there if wanted(name) and not (log_is_here and name == LOG)], there)

    def again(self) -> None:
        """Begins anew after the sweep had to end: with what is at the URL by now."""
        self.trouble = None
        self.push(last=True)
        self.fetch()

    def begin(self, trial_id: str) -> bool:
        """Has whoever resumes from the URL, and the trial's node, know a trial that is to start; whether it may."""
        self._training.add(trial_id)
        return self._must(self.push)

    def end(self, trial_id: str, lost: str | None = None) -> bool:
        """A trial has ended: brings what it left; whether that is here now.

        ``lost`` is the record of one whose node could not write it to the URL.
        """
        self._training.discard(trial_id)
        if lost is not None:
            results.write_record(self.folder / "trials" / trial_id, Record.model_validate_json(lost))
            return True
        return self._must(partial(self._end, trial_id))

    def _must(self, do: Callable[[], None]) -> bool:
        """Does what the sweep can't go on without. Where it fails, the sweep ends as by Ctrl-C: see ``trouble``."""
        try:
            do()
        except OSError as error:
            # Tune would take it for a failure of the trial, and run that again.
            self.trouble = error
            signal.raise_signal(signal.SIGTERM)
            return False
        return True

    def _end(self, trial_id: str) -> None:
        there = self.store.list(f"trials/{trial_id}")
        record = f"trials/{trial_id}/record.json"
        names = [name for name in there if wanted(name) and not name.endswith("/config.json")]
        self._pull([name for name in names if name != record], there)
        self._pull([name for name in names if name == record], there)

    def push(self, last: bool = False) -> None:
        """Pushes what has changed since it was pushed or pulled; with ``last`` all of it. Raises ``StorageError``."""
        with self._pushing:
            if self.closed:
                return
            slow = last or time.monotonic() > self._wandb_due
            changed = {name: stamp for name, stamp in self._stamps() if self._known.get(name) != stamp}
            for rank in range(LAST_RANK + 1):
                names = [name for name in changed if order(name) == rank]
                if rank < WANDB_RANK or slow:
                    self._push(names)
                    self._known |= {name: changed[name] for name in names}
            if slow:
                self._wandb_due = time.monotonic() + WANDB_SECONDS

    def hurry(self) -> None:
        """From here on a store that fails is waited for only shortly."""
        self.store.patience = LAST_SECONDS

    def _push(self, names: list[str]) -> None:
        try:
            self.store.push(self.folder, names)
        except FileNotFoundError:  # something has just been removed
            self.store.push(self.folder, [name for name in names if (self.folder / name).exists()])

    @contextmanager
    def following(self) -> Iterator[None]:
        """Keeps both sides alike meanwhile, and at the end. Raises ``StorageError`` when the end isn't."""
        try:
            with repeated(self._follow, LOOK_SECONDS):
                try:
                    yield
                finally:
                    if self.trouble is not None:  # it was waited for long enough
                        self.hurry()
        finally:
            with suppress(OSError) if self.trouble is not None else nullcontext():
                self.push(last=True)

    def _follow(self) -> None:
        # What fails here is tried again with the next look; what a trial's start or end needs fails there.
        with suppress(OSError):
            self._look()

    def _look(self) -> None:
        if self.store.read(STOP) is not None:
            files.write_text(self.folder / STOP, "")  # where the driver looks for it
        self.push()
        if time.monotonic() > self._curves_due:
            self._pull_curves()
            self._curves_due = time.monotonic() + CURVES_SECONDS

    def _pull_curves(self) -> None:
        for trial_id in sorted(self._training):
            there = self.store.list(f"trials/{trial_id}")
            curve = f"trials/{trial_id}/curve.jsonl"
            if curve in there and there[curve].size != self._known.get(curve, (0, 0))[0]:
                self._pull([curve], there)

    def _pull(self, names: Iterable[str], there: dict[str, Entry]) -> None:
        names = list(names)
        with self._pushing:
            self.store.pull(names, self.folder, there)
            self._known |= {name: stamp(self.folder / name) for name in names}

    def _stamps(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """The files to push that are here now."""
        for place, folders, names in os.walk(self.folder):
            folders[:] = [each for each in folders if not hidden(each)]
            for path in (Path(place, each) for each in names):
                name = str(path.relative_to(self.folder))
                if own(name):
                    with suppress(FileNotFoundError):  # it has just been removed
                        yield name, stamp(path)


def stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def every(seconds: float, say: Callable[[str], None]) -> Callable[[str], None]:
    """``say``, but not more often than that; what is said in between is like it."""
    due = 0.0

    def told(text: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + seconds
            say(text)

    return told
