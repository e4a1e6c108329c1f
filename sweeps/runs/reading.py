"""A run's small files in a folder of this machine, wherever the run is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.runs.mirror_rules import needed_by_driver
from trainables.storage.url_store import Store
from trainables.storage.urls import is_url

PATIENCE_SECONDS = 20.0  # with a store that fails, for whoever only reads


@contextmanager
def copied(run: str, names: Callable[[str], bool] = needed_by_driver) -> Iterator[Path]:
    """A folder to read in that has at least the files of ``run``, a folder or a URL, whose names are asked for.

    ``names``: whether a file is wanted, by its path within the run. Raises ``ValueError`` for a URL that can't be
    used.
    """
    if not is_url(run):
        yield Path(run)
        return
    store = Store(run.rstrip("/"), PATIENCE_SECONDS)
    there = store.list()
    with tempfile.TemporaryDirectory(prefix="paretune-") as temporary:
        copy = Path(temporary) / store.url.rpartition("/")[2]
        copy.mkdir()
        store.pull([name for name in there if names(name)], copy, there)
        yield copy
