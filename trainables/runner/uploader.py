"""Uploads what a trial in training writes to the run's URL: the curve as it grows, checkpoints once they are complete.

A checkpoint's files are uploaded first, then the curve up to its step, then the completion marker, so that a trial can
be resumed from every marked checkpoint. This happens in a background thread, which training doesn't wait for.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from trainables.storage.url_store import Store
from trainables.training.checkpoints import COMPLETE, LOGPROBS_BEFORE, kept_beside, step_of

POLL_SECONDS = 1.0
CURVE_PAUSE = 10  # pause between uploads of the curve, as a multiple of the time that the last one took


class Uploader:
    """Uploads what is new in a trial's ``folder``. ``uploaded``: names of checkpoints that came from the URL."""

    def __init__(self, store: Store, folder: Path, uploaded: Iterable[str] = ()) -> None:
        self.store, self.folder = store, folder
        # The dot keeps it out of the trial's results, which a workspace uploads.
        self._links = folder / ".leaving"
        # Names of checkpoints, each with that of the one that it needs beside it.
        self._uploaded = {name: _needed_beside(folder / name) for name in uploaded}
        self._curve_size, self._curve_due = 0, 0.0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread; may be started again after :meth:`stop`."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread once it has uploaded what it is at. :meth:`upload_new` uploads the rest."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _poll(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            with suppress(OSError):  # stays here for the next upload; the last one raises
                self.upload_new()

    def upload_new(self, last: bool = False) -> None:
        """Uploads what is new; the ``last`` time the curve without a pause. Raises ``StorageError``."""
        self._link_checkpoints()
        for checkpoint in sorted(self._links.glob("checkpoint-*"), key=step_of):
            self._upload_checkpoint(checkpoint)
        if last or time.monotonic() > self._curve_due:
            self._upload_curve()
        self._remove_deleted()

    def _link_checkpoints(self) -> None:
        """Hard-links the files of new checkpoints, as the trainer may remove a checkpoint while it is uploaded."""
        for marker in self.folder.glob(f"checkpoint-*/{COMPLETE}"):
            checkpoint = marker.parent
            if checkpoint.name in self._uploaded:
                continue
            linked = self._links / checkpoint.name
            try:
                # Some links may be there already, from an upload that failed half-way.
                shutil.copytree(checkpoint, linked, copy_function=_link_or_copy, dirs_exist_ok=True)
            except (FileNotFoundError, shutil.Error):  # it has just been removed
                shutil.rmtree(linked, ignore_errors=True)

    def _upload_checkpoint(self, linked: Path) -> None:
        names = [str(path.relative_to(linked)) for path in linked.rglob("*") if path.is_file()]
        checkpoint = self.store.within(linked.name)
        checkpoint.push(linked, [name for name in names if name != COMPLETE])
        if not self._uploaded and (self.folder / LOGPROBS_BEFORE).exists():
            self.store.push(self.folder, [LOGPROBS_BEFORE])
        self._upload_curve()
        checkpoint.push(linked, [COMPLETE])
        self._uploaded[linked.name] = _needed_beside(linked)
        shutil.rmtree(linked)

    def _upload_curve(self) -> None:
        curve = self.folder / "curve.jsonl"
        size = curve.stat().st_size if curve.exists() else 0
        if size == self._curve_size:
            return
        started = time.monotonic()
        self.store.push(self.folder, [curve.name])
        # The size from before the upload: what was appended meanwhile is uploaded next time.
        self._curve_size = size
        self._curve_due = time.monotonic() + CURVE_PAUSE * (time.monotonic() - started)

    def _remove_deleted(self) -> None:
        """Removes checkpoints from the URL that the trainer has removed here, and that are older than the newest one at
        the URL to resume from, which needs none of them beside it.
        """
        whole = [
            name for name, beside in self._uploaded.items() if beside is None or beside in self._uploaded
        ]
        if not whole:
            return
        steps = {name: step_of(Path(name)) for name in self._uploaded}
        newest = max(whole, key=steps.__getitem__)
        for name in [name for name, step in steps.items() if step < steps[newest]]:
            if name != self._uploaded[newest] and not (self.folder / name).exists():
                remove_checkpoint(self.store, name)
                del self._uploaded[name]


def _needed_beside(checkpoint: Path) -> str | None:
    beside = kept_beside(checkpoint)
    return beside.name if beside is not None else None


def remove_checkpoint(store: Store, checkpoint: str) -> None:
    """Removes a checkpoint, its completion marker first: half a checkpoint must not look complete."""
    store.remove([f"{checkpoint}/{COMPLETE}"])
    store.remove(store.list(checkpoint))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except PermissionError:  # a file system without hard links
        shutil.copy2(source, target)
