"""Results of runs at URLs, brought to this machine: once, with what they were made of."""

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
    return Store(url.rstrip("/"), PATIENCE_SECONDS)


def here(run: str, looked_at: Path, trial: str, part: str) -> Path:
    """Where a trial's file or folder is on this machine. ``looked_at`` has the run's small files.

    What is not there yet of a run at a URL is brought to the cache, and the models that the trial started from, too.
    """
    if not is_url(run):
        return Path(run).expanduser().resolve() / "trials" / trial / part
    store = store_of(run)
    kept = home() / "results" / files.sha256(store.url)[:12]
    for path in [
        looked_at / GIVEN,
        *looked_at.glob("trials/*/config.json"),
        *looked_at.glob("trials/*/record.json"),
    ]:
        if path.is_file():
            copy = kept / path.relative_to(looked_at)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
    _bring(store, kept, trial, part)
    return kept / "trials" / trial / part


def _bring(store: Store, kept: Path, trial: str, part: str) -> None:
    folder = kept / "trials" / trial
    there = store.list(f"trials/{trial}")
    parts = [name for name in there if name.startswith(f"trials/{trial}/{part}/")]
    store.pull([name for name in parts if not _has(kept / name, there[name].size)], kept, there)
    config = starting_weights.read_trial(folder / part)
    start = config.model.start if config is not None else None
    # A folder that no trial of this run left is on the machines that have it.
    if start is not None and (kept / "trials" / str(start.trial) / "config.json").is_file():
        _bring(store, kept, str(start.trial), "model")


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
