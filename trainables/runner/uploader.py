"""What a trial in training leaves goes to the run's URL: the curve as it grows, checkpoints as they are complete.

A checkpoint's files go first, then the curve up to there, then the completion marker: what is marked can be resumed
from. All this happens in a thread beside the training, which doesn't wait for it.
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
from trainables.training.checkpoints import COMPLETE, step_of

LOOK_SECONDS = 1.0
PACE = 10  # the curve is sent no sooner again than so many times what sending it took


class Outbox:
    """Sends what is new in ``folder``, a trial's, look by look. ``there``: the checkpoints that came from the URL."""

    def __init__(self, store: Store, folder: Path, there: Iterable[str] = ()) -> None:
        self.store, self.folder = store, folder
        self._links = folder / ".leaving"
        self._sent = set(there)  # names of checkpoints
        self._curve_size, self._curve_due = 0, 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begins to look; may be opened again."""
        self._over.clear()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, once what it is sending has gone. What is left, :meth:`look` sends."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _follow(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with suppress(OSError):  # it stays here, and is sent with the next look, or fails with the last
                self.look()

    def look(self, last: bool = False) -> None:
        """Sends what is new. Raises ``StorageError``."""
        self._link()
        for checkpoint in sorted(self._links.glob("checkpoint-*"), key=step_of):
            self._send_checkpoint(checkpoint)
        if last or time.monotonic() > self._curve_due:
            self._send_curve()
        self._drop_removed()

    def _link(self) -> None:
        """Gives the files of new checkpoints a second name, for the trainer removes old ones whenever it likes."""
        for marker in self.folder.glob(f"checkpoint-*/{COMPLETE}"):
            checkpoint = marker.parent
            if checkpoint.name in self._sent:
                continue
            linked = self._links / checkpoint.name
            try:
                shutil.copytree(checkpoint, linked, copy_function=_link_or_copy, dirs_exist_ok=True)
            except (FileNotFoundError, shutil.Error):  # it has just been removed
                shutil.rmtree(linked, ignore_errors=True)

    def _send_checkpoint(self, linked: Path) -> None:
        names = [str(path.relative_to(linked)) for path in linked.rglob("*") if path.is_file()]
        there = self.store.within(linked.name)
        there.push(linked, [name for name in names if name != COMPLETE])
        self._send_curve()
        there.push(linked, [COMPLETE])
        self._sent.add(linked.name)
        shutil.rmtree(linked)

    def _send_curve(self) -> None:
        curve = self.folder / "curve.jsonl"
        size = curve.stat().st_size if curve.exists() else 0
        if size == self._curve_size:
            return
        began = time.monotonic()
        self.store.push(self.folder, [curve.name])
        self._curve_size = size
        self._curve_due = time.monotonic() + PACE * (time.monotonic() - began)

    def _drop_removed(self) -> None:
        """Removes there what the trainer has removed here; an older checkpoint only once a newer one has gone."""
        for name in [name for name in self._sent if not (self.folder / name).exists()]:
            remove(self.store, name)
            self._sent.discard(name)


def remove(store: Store, checkpoint: str) -> None:
    """Removes a checkpoint, its marker first."""
    store.remove([f"{checkpoint}/{COMPLETE}"])
    store.remove(store.list(checkpoint))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except PermissionError:  # a file system without links
        shutil.copy2(source, target)
