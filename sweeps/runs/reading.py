"""A run's small files in a folder on this machine, wherever the run is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.cluster.private_folder import private_folder
from sweeps.runs.foreign_entries import require_readable
from sweeps.runs.mirror_rules import needed_by_driver
from trainables.storage.damaged_files import named
from trainables.storage.url_store import Store
from trainables.storage.urls import is_url

PATIENCE_SECONDS = 20.0  # with a store that fails, for commands that only read


@contextmanager
def local_copy(run: str, names: Callable[[str], bool] = needed_by_driver) -> Iterator[Path]:
    """A folder for reading that has at least those files of ``run``, a folder or a URL, that ``names`` accepts.

    ``names`` is given a file's path within the run. Raises ``ValueError`` for an unusable URL, and ``DamagedFile`` for
    a folder that can't be read to its end.
    """
    if not is_url(run):
        require_readable(Path(run))
        yield Path(run)
        return
    store = Store(run.rstrip("/"), PATIENCE_SECONDS)
    entries = store.list()
    with private_folder() as temporary:
        copy = temporary / store.url.rpartition("/")[2]
        copy.mkdir()
        store.pull([name for name in entries if names(name)], copy, entries)
        with named(copy, store.url):
            yield copy
