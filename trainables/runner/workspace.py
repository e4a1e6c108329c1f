"""Where a trial works: in the run folder or, where that is a URL, in a scratch folder of its node.

In the scratch folder it runs as it would in the run folder. Its inputs are downloaded first, and its results uploaded
to the URL, the record last: where the record is, everything is.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainables.memory.in_trial import InTrial
from trainables.results import Record, write_record
from trainables.runner.uploader import Uploader, remove_checkpoint
from trainables.storage import urls
from trainables.storage.locks import locked
from trainables.storage.url_store import Entry, StorageError, Store
from trainables.system.background import call_periodically
from trainables.training.checkpoints import (
    LOGPROBS_BEFORE,
    can_go_on_from,
    is_complete,
    kept_beside,
    newest_first,
)
from trainables.trial import scratch
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import INDEX_FILE, StagedInputs

if TYPE_CHECKING:
    from trainables.runner.run import MemoryGauge

BEAT_SECONDS = 10.0  # between signs of life during downloads and uploads
NOT_DELIVERED = "its results could not be written to {url} ({error}); they are in {folder} on {host}"
ENDED_WELL = ("done", "stopped")


class Workspace(Protocol):
    """Where one trial works; ``run`` is the run folder, or the scratch folder that stands for it."""

    run: Path

    def fetch(self, config: TrialConfig) -> TrialConfig:
        """Makes the trial's inputs local, and returns its config with paths on this machine."""

    def memory_gauge(self, gauge: MemoryGauge | InTrial, workers: int = 1) -> MemoryGauge | InTrial:
        """``gauge``, or one that first looks up what another node has measured."""

    def uploading(self) -> AbstractContextManager[None]:
        """A context in which the trial's checkpoints and curve are uploaded as they are written."""

    def deliver(self, record: Record) -> str | None:
        """Brings the trial's results to the run; returns why that failed, or ``None``."""


def workspace_for(run: str, trial_id: str, claim: str, first: bool, beat: Callable[[], Any]) -> Workspace:
    """The workspace for a trial of ``run``, a folder or a URL.

    ``claim`` names the worker group and its job: its workers on one node share one download. ``first``: whether this
    is the worker that writes. ``beat`` is called regularly during downloads and uploads, as a sign of life.
    """
    return (
        RemoteWorkspace(Store(run), trial_id, claim, first, beat)
        if urls.is_url(run)
        else LocalWorkspace(Path(run))
    )


class LocalWorkspace:
    """The run folder itself, which every node can reach."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def fetch(self, config: TrialConfig) -> TrialConfig:
        return StagedInputs.read(self.run).local_config(config)

    def memory_gauge(self, gauge: MemoryGauge | InTrial, workers: int = 1) -> MemoryGauge | InTrial:
        return gauge

    @contextmanager
    def uploading(self) -> Iterator[None]:
        yield

    def deliver(self, record: Record) -> str | None:
        return None


class RemoteWorkspace:
    """A scratch folder of this node, with downloads from the run's URL and uploads to it."""

    def __init__(self, store: Store, trial_id: str, claim: str, first: bool, beat: Callable[[], Any]) -> None:
        self.store, self.claim, self.first, self.beat = store, claim, first, beat
        self.run = scratch.scratch_folder(store.url)
        self.folder = self.run / "trials" / trial_id
        self.trial_store = store.within(f"trials/{trial_id}")
        self.uploader: Uploader | None = None

    def fetch(self, config: TrialConfig) -> TrialConfig:
        """Raises ``StorageError``, ``ModelError``, and ``OSError`` when this machine's disk is full."""
        with _beating(self.beat):
            self._download()
            if self.uploader is None:
                downloaded = [path.name for path in self.folder.glob("checkpoint-*")]
                self.uploader = Uploader(self.trial_store, self.folder, downloaded)
            given = StagedInputs.read(self.run)
            return given.local_config(scratch.download_start_models(config, self.store, self.run, given))

    def _download(self) -> None:
        """Downloads once for all workers of the group on this node."""
        mark = self.folder / ".fetched"
        # The lock is outside of the trial's folder, which the download removes first.
        with locked(self.run / "locks" / self.folder.name):
            if not mark.exists() or mark.read_text() != self.claim:
                scratch.download_run_file(self.store, self.run, INDEX_FILE)
                self._download_trial()
                # Written last, and removed with the folder: half a download is never taken for a whole one.
                mark.write_text(self.claim)

    def _download_trial(self) -> None:
        """Downloads what a trial resumes from, such as the newest complete checkpoint; removes what a worker that died
        has left here.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        stored = self.trial_store.list()
        others = [name for name in stored if name in ("curve.jsonl", LOGPROBS_BEFORE)]
        self.trial_store.pull(others, self.folder, stored)
        for name in newest_first(stored):
            checkpoint = self.folder / name
            self._download_checkpoint(checkpoint, stored)
            if (kept := kept_beside(checkpoint)) is not None:
                self._download_checkpoint(kept, stored)
            if can_go_on_from(checkpoint):
                return
            # A file is missing or cut short; the one before it will do.
            shutil.rmtree(checkpoint)

    def _download_checkpoint(self, checkpoint: Path, stored: Mapping[str, Entry]) -> None:
        """Downloads a checkpoint, unless an earlier look has; what isn't at the URL stays missing here."""
        if not is_complete(checkpoint):
            names = [name for name in stored if name.startswith(f"{checkpoint.name}/")]
            self.trial_store.pull(names, self.folder, stored)

    def memory_gauge(self, gauge: MemoryGauge | InTrial, workers: int = 1) -> MemoryGauge | InTrial:
        if isinstance(gauge, InTrial):
            return replace(gauge, stored=self._stored_measurement)
        return CachedMeasurement(gauge, self._stored_measurement, workers)

    def _stored_measurement(self, shape: str) -> dict[str, Any] | None:
        """What any node has measured for a memory shape; ``None`` where there is none, or where it can't be read."""
        try:
            stored = self.store.read(f"memory/{shape}.json")
        except StorageError:  # costs the time to measure again, not the trial
            return None
        return json.loads(stored) if stored is not None else None

    @contextmanager
    def uploading(self) -> Iterator[None]:
        if self.uploader is None or not self.first:
            yield
            return
        self.uploader.start()
        try:
            yield
        finally:
            with _beating(self.beat):
                # Waits for the upload that is under way, which may take long: hence the signs of life.
                self.uploader.stop()

    def deliver(self, record: Record) -> str | None:
        if not self.first:
            if os.environ.get("LOCAL_RANK") == "0":  # the first of a node that the writing worker isn't on
                shutil.rmtree(self.folder, ignore_errors=True)
            return None
        try:
            with _beating(self.beat):
                self._upload_results(record)
        except OSError as error:
            return NOT_DELIVERED.format(
                url=self.store.url, error=error, folder=self.folder, host=socket.gethostname()
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        return None

    def _upload_results(self, record: Record) -> None:
        if self.uploader is not None:
            self.uploader.upload_new(last=True)
        self.trial_store.push(self.folder, self._results())
        shape = f"memory/{record.memory_shape}.json"
        if (self.run / shape).exists():
            self.store.create(shape, (self.run / shape).read_bytes())
        scratch.upload_merged(self.store, self.run, record.start_trial)
        write_record(self.folder, record)
        self.trial_store.push(self.folder, ["record.json"])
        if record.status in ENDED_WELL and not any(self.folder.glob("checkpoint-*")):
            for name in checkpoints(self.trial_store.list()):  # they only served to resume
                remove_checkpoint(self.trial_store, name)

    def _results(self) -> list[str]:
        """The trial's files but its checkpoints, which are uploaded before, and its record, which comes last."""
        names = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()]
        uploaded_apart = ("checkpoint-", ".", "config.json", "record.json", "curve.jsonl")
        return [name for name in names if not name.startswith(uploaded_apart)]


class CachedMeasurement:
    """Looks a measurement up at the run's URL, where any node may have put it, and measures only if there is none."""

    def __init__(
        self, gauge: MemoryGauge, stored: Callable[[str], dict[str, Any] | None], workers: int = 1
    ) -> None:
        self.gauge, self.stored, self.workers = gauge, stored, workers

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        stored = self.stored(config.memory_shape(self.workers))
        return stored if stored is not None else self.gauge.measure(config)


def checkpoints(names: Mapping[str, Entry]) -> list[str]:
    """The checkpoints among a trial's files, complete or not."""
    return sorted({name.partition("/")[0] for name in names if name.startswith("checkpoint-")})


@contextmanager
def _beating(beat: Callable[[], Any]) -> Iterator[None]:
    """Calls ``beat`` at once and then every :data:`BEAT_SECONDS`."""
    beat()
    with call_periodically(beat, BEAT_SECONDS):
        yield
