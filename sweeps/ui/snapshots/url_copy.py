"""The small files of a run at a URL, in a folder of this process; only what has changed there is fetched again."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sweeps.runs import lease
from sweeps.runs.layout import STOP
from sweeps.runs.location import is_status_file
from sweeps.runs.reading import PATIENCE_SECONDS
from trainables.storage.url_store import Entry, Store

WANTED = ("/predictions.parquet", "study-", "report/", "spec.yaml", "trials.parquet", "curves.parquet")

MAX_FILES, MAX_BYTES = 50_000, 2 * 2**30  # of one run: whoever may write there must not fill this disk


class UrlCopy:
    """A copy of the run at ``url`` in ``folder``, which is removed with :meth:`close`."""

    def __init__(self, url: str) -> None:
        self._store = Store(url, PATIENCE_SECONDS)
        self._temporary = tempfile.TemporaryDirectory(prefix="paretune-ui-")
        # Called like the run, whose name messages and reports take from the folder.
        self.folder = Path(self._temporary.name) / (url.rstrip("/").rpartition("/")[2] or "run")
        self.folder.mkdir()
        self._fetched: dict[str, Entry] = {}

    def update(self) -> None:
        """Fetches what is new. Raises ``StorageError`` where the store fails, ``ValueError`` for more than is
        copied.
        """
        there = self._store.list()
        wanted = {name: entry for name, entry in there.items() if _is_wanted(name)}
        self._refuse_too_much(wanted)
        new = [name for name, entry in wanted.items() if self._fetched.get(name) != entry]
        self._store.pull(new, self.folder, wanted)
        for gone in self._fetched.keys() - wanted.keys():
            (self.folder / gone).unlink(missing_ok=True)
        # Whether its end was requested is in a hidden object.
        if self._store.read(STOP) is None:
            (self.folder / STOP).unlink(missing_ok=True)
        else:
            (self.folder / STOP).touch()
        self._fetched = wanted

    def _refuse_too_much(self, wanted: dict[str, Entry]) -> None:
        size = sum(entry.size for entry in wanted.values())
        if len(wanted) > MAX_FILES or size > MAX_BYTES:
            raise ValueError(
                f"{self._store.url}: {len(wanted):,} files with {size:,} bytes would be copied to this machine, more "
                f"than {MAX_FILES:,} or {MAX_BYTES:,}; copy the run yourself, and show the copy"
            )

    def holder(self) -> str | None:
        """The process that runs it, by its lease."""
        return lease.holder(self._store)

    def close(self) -> None:
        self._temporary.cleanup()


def _is_wanted(name: str) -> bool:
    return is_status_file(name) or name.startswith(WANTED) or name.endswith(WANTED)
