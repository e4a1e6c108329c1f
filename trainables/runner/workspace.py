"""Where a trial runs: in the run's folder or, where that is a URL, in a scratch folder of its node.

There it runs as it would in the run folder: what it needs is brought first, and what it leaves goes to the URL, the
record last of all. Where the record is, everything is.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainables.results import Record, write_record
from trainables.runner.uploader import Outbox, remove
from trainables.storage import urls
from trainables.storage.locks import locked
from trainables.storage.url_store import Entry, StorageError, Store
from trainables.system.background import repeated
from trainables.training.checkpoints import COMPLETE, is_complete, step_of
from trainables.trial import scratch
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import NAME, Given

if TYPE_CHECKING:
    from trainables.runner.run import Measures

BEAT_SECONDS = 10.0  # between signs of life while results are on their way
LOST = "its results could not be written to {url} ({error}); they are in {folder} on {host}"
ENDED_WELL = ("done", "stopped")


class Where(Protocol):
    """The place of one trial: ``run`` is the run folder to work in."""

    run: Path

    def fetch(self, config: TrialConfig) -> TrialConfig:
        """Brings what the trial needs, and gives its config with paths that are here."""

    def measuring(self, measuring: Measures, workers: int = 1) -> Measures:
        """What measures memory, or knows what another node has measured."""

    def sending(self) -> Any:
        """A context: what the trial leaves meanwhile goes on its way."""

    def deliver(self, record: Record) -> str | None:
        """Brings what the trial has left to the run; why that failed."""


def where(run: str, trial_id: str, claim: str, first: bool, beat: Callable[[], Any]) -> Where:
    """The place for a trial of a run, a folder or a URL.

    ``claim`` names the worker group and its job: its workers on one node share what is brought there. ``first``:
    whether this is the worker that writes. ``beat`` is called again and again while something is on its way.
    """
    return Courier(Store(run), trial_id, claim, first, beat) if urls.is_url(run) else InPlace(Path(run))


class InPlace:
    """In the run folder itself, which every node has."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def fetch(self, config: TrialConfig) -> TrialConfig:
        return Given.of(self.run).config(config)

    def measuring(self, measuring: Measures, workers: int = 1) -> Measures:
        return measuring

    @contextmanager
    def sending(self) -> Iterator[None]:
        yield

    def deliver(self, record: Record) -> str | None:
        return None


class Courier:
    """In a scratch folder, from and to the run's URL."""

    def __init__(self, store: Store, trial_id: str, claim: str, first: bool, beat: Callable[[], Any]) -> None:
        self.store, self.claim, self.first, self.beat = store, claim, first, beat
        self.run = scratch.of(store.url)
        self.folder = self.run / "trials" / trial_id
        self.trial = store.within(f"trials/{trial_id}")
        self.outbox: Outbox | None = None

    def fetch(self, config: TrialConfig) -> TrialConfig:
        """Raises ``StorageError``, ``ModelError``, and ``OSError`` when the disk here is full."""
        with _beating(self.beat):
            self._fetch()
            if self.outbox is None:
                there = [path.name for path in self.folder.glob("checkpoint-*")]
                self.outbox = Outbox(self.trial, self.folder, there)
            given = Given.of(self.run)
            return given.config(scratch.started(config, self.store, self.run, given))

    def _fetch(self) -> None:
        mark = self.folder / ".fetched"
        with locked(self.run / "locks" / self.folder.name):
            if not mark.exists() or mark.read_text() != self.claim:
                scratch.bring(self.store, self.run, NAME)
                self._fetch_anew()
                mark.write_text(self.claim)

    def _fetch_anew(self) -> None:
        """The curve and the newest complete checkpoint; what a worker that died has left here goes."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        there = self.trial.list()
        self.trial.pull([name for name in there if name == "curve.jsonl"], self.folder, there)
        for checkpoint in newest_first(there):
            names = [name for name in there if name.startswith(f"{checkpoint}/")]
            self.trial.pull(names, self.folder, there)
            if is_complete(self.folder / checkpoint):
                return
            shutil.rmtree(self.folder / checkpoint)

    def measuring(self, measuring: Measures, workers: int = 1) -> Measures:
        return Measured(measuring, self.store, workers)

    @contextmanager
    def sending(self) -> Iterator[None]:
        if self.outbox is None or not self.first:
            yield
            return
        self.outbox.open()
        try:
            yield
        finally:
            with _beating(self.beat):
                self.outbox.close()

    def deliver(self, record: Record) -> str | None:
        if not self.first:
            if os.environ.get("LOCAL_RANK") == "0":  # on a node that the one who writes isn't on
                shutil.rmtree(self.folder, ignore_errors=True)
            return None
        try:
            with _beating(self.beat):
                self._deliver(record)
        except OSError as error:
            return LOST.format(url=self.store.url, error=error, folder=self.folder, host=socket.gethostname())
        shutil.rmtree(self.folder, ignore_errors=True)
        return None

    def _deliver(self, record: Record) -> None:
        if self.outbox is not None:
            self.outbox.look(last=True)
        self.trial.push(self.folder, self._left())
        shape = f"memory/{record.memory_shape}.json"
        if (self.run / shape).exists():
            self.store.create(shape, (self.run / shape).read_bytes())
        scratch.share_merged(self.store, self.run, record.start_trial)
        write_record(self.folder, record)
        self.trial.push(self.folder, ["record.json"])
        if record.status in ENDED_WELL and not any(self.folder.glob("checkpoint-*")):
            for name in checkpoints(self.trial.list()):  # they only served to resume
                remove(self.trial, name)

    def _left(self) -> list[str]:
        """What the trial has left beside checkpoints, which have gone before, and its record, which goes last."""
        names = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()]
        others = ("checkpoint-", ".", "config.json", "record.json", "curve.jsonl")
        return [name for name in names if not name.startswith(others)]


class Measured:
    """Measures memory unless it has been measured for the run, on whichever node."""

    def __init__(self, measuring: Measures, store: Store, workers: int = 1) -> None:
        self._measuring, self.store, self.workers = measuring, store, workers

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        try:
            known = self.store.read(f"memory/{config.memory_shape(self.workers)}.json")
        except StorageError:  # that costs the time to measure it, and not the trial
            known = None
        return json.loads(known) if known is not None else self._measuring.measure(config)


def checkpoints(names: Mapping[str, Entry]) -> list[str]:
    """The checkpoints among a trial's files, complete or not."""
    return sorted({name.partition("/")[0] for name in names if name.startswith("checkpoint-")})


def newest_first(names: Mapping[str, Entry]) -> list[str]:
    """The checkpoints that are marked complete among a trial's files, the newest first."""
    complete = [name for name in checkpoints(names) if f"{name}/{COMPLETE}" in names]
    return sorted(complete, key=lambda name: -step_of(Path(name)))


@contextmanager
def _beating(beat: Callable[[], Any]) -> Iterator[None]:
    """Calls ``beat`` again and again meanwhile."""
    beat()
    with repeated(beat, BEAT_SECONDS):
        yield
