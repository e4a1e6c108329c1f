"""The driver's copy of a run folder that is at a URL: search, progress, tables and report work in it as in any other.

What the driver writes is pushed soon after it has changed, in an order that whatever is there can be resumed from; what
trials leave is pulled when they have ended, but for models and checkpoints, which stay at the URL.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweeps.folder import STOP
from trainables import files, results
from trainables.results import Record
from trainables.storage import Entry, StorageError, Store

LOOK_SECONDS = 2.0
CURVES_SECONDS = 5.0  # between looks at how far the trials in training are
WANDB_SECONDS = 60.0  # between pushes of W&B's offline runs
STAYS = ("merged/", "given/", "wandb/")  # what is at the URL and not needed here
SENT = "wandb/sent/"  # ... but for the marks of what W&B has been told


class Mirror:
    """``folder`` mirrors ``store``. ``closed`` once another driver has the run: nothing is pushed any more."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.closed = False
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
            if not path.name.startswith("."):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        there = self.store.list()
        self._pull([name for name in there if wanted(name)], there)

    def begin(self, trial_id: str) -> None:
        """A trial is about to start: whoever resumes from the URL, and the trial's node, will know it."""
        self.push()
        self._training.add(trial_id)

    def end(self, trial_id: str, lost: str | None = None) -> None:
        """A trial has ended: brings what it left. ``lost``: the record of one whose node could not write it there."""
        self._training.discard(trial_id)
        if lost is not None:
            results.write_record(self.folder / "trials" / trial_id, Record.model_validate_json(lost))
            return
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
                    self.store.push(self.folder, names)
                    self._known |= {name: changed[name] for name in names}
            if slow:
                self._wandb_due = time.monotonic() + WANDB_SECONDS

    @contextmanager
    def following(self) -> Iterator[None]:
        """Keeps both sides alike meanwhile, and at the end."""
        over = threading.Event()
        thread = threading.Thread(target=self._follow, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.push(last=True)

    def _follow(self, over: threading.Event) -> None:
        while not over.wait(LOOK_SECONDS):
            # What fails here is tried again with the next look; what a trial's start or end needs fails there.
            with suppress(StorageError, FileNotFoundError):
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


def wanted(name: str) -> bool:
    """Whether a file at the URL is needed here: not models, checkpoints, and what only workers use."""
    parts = name.split("/")
    of_trial = parts[2] if parts[0] == "trials" and len(parts) > 3 else ""
    heavy = of_trial == "model" or of_trial.startswith("checkpoint-")
    stays = name.startswith(STAYS) and not name.startswith(SENT)
    return not heavy and not stays and not hidden(name)


def own(name: str) -> bool:
    """Whether a file here belongs at the URL: not what processes keep for themselves."""
    return not hidden(name) and not name.endswith((".lock", ".tmp")) and not name.startswith("wandb/own/")


def hidden(name: str) -> bool:
    """``.lock``, ``.stop``, Ray's own state, files that are being written."""
    return any(part.startswith(".") for part in name.split("/"))


WANDB_RANK, LAST_RANK = 4, 5


def order(name: str) -> int:
    """What is pushed first: a study knows a trial before its config is there, and a run is one once all else is."""
    if name.startswith("wandb/"):
        return LAST_RANK if name.startswith(SENT) else WANDB_RANK
    if name == "environment.json":
        return 3
    if not name.startswith("trials/"):
        return 0
    return 1 if name.endswith("/config.json") else 2
