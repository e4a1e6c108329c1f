"""Models of runs at URLs, downloaded to this machine: once, with the models they were trained from."""

from __future__ import annotations

import shutil
from pathlib import Path

from sweeps.runs.reading import PATIENCE_SECONDS
from trainables.storage import files
from trainables.storage.home import home
from trainables.storage.url_store import Store
from trainables.storage.urls import is_url
from trainables.trial import starting_weights
from trainables.trial.staged_inputs import INDEX_FILE as GIVEN


def store_of(url: str) -> Store:
    """The store of a run, for a reader who waits less for a failing one than a sweep does."""
    return Store(url.rstrip("/"), PATIENCE_SECONDS)


def local_path(run: str, small_files: Path, trial: str, part: str) -> Path:
    """Where a trial's file or folder ``part`` is on this machine; ``small_files`` is a folder with the small ones.

    For a run at a URL it is in the cache; what is missing there is downloaded, with the models that the trial started
    from.
    """
    if not is_url(run):
        return Path(run).expanduser().resolve() / "trials" / trial / part
    store = store_of(run)
    cache = home() / "results" / files.sha256(store.url)[:12]
    # The cache is laid out like a run folder, where a model's config and its parents are looked for beside
    # it. Small files are copied each time, because the run may have gone on meanwhile.
    for path in [
        small_files / GIVEN,
        *small_files.glob("trials/*/config.json"),
        *small_files.glob("trials/*/record.json"),
    ]:
        if path.is_file():
            copy = cache / path.relative_to(small_files)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
    _download(store, cache, trial, part)
    return cache / "trials" / trial / part


def _download(store: Store, cache: Path, trial: str, part: str) -> None:
    folder = cache / "trials" / trial
    entries = store.list(f"trials/{trial}")
    # With the slash at the end, so that checkpoint-1 does not bring checkpoint-10 along.
    names = [name for name in entries if name.startswith(f"trials/{trial}/{part}/")]
    # A download appears only when it is complete, so a file of the right size is a whole one.
    store.pull([name for name in names if not _has(cache / name, entries[name].size)], cache, entries)
    config = starting_weights.read_trial(folder / part)
    start = config.model.start if config is not None else None
    # Only models of this run's own trials: others are wherever their paths are.
    if start is not None and (cache / "trials" / str(start.trial) / "config.json").is_file():
        _download(store, cache, str(start.trial), "model")


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
