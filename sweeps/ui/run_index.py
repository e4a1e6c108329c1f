"""Which runs there are: the run folders below each root, and runs at URLs that were added.

Each root is looked at by a thread of its own, so that one whose disk hangs hides no run of the others.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainables.storage import files
from trainables.storage.home import home
from trainables.storage.locks import locked
from trainables.storage.urls import REMOTE_STORES, checked, is_url

SCAN_SECONDS = 2.0  # between two looks at the roots
# For the look at a root; of one that takes longer, the runs of its last look are known.
PATIENCE_SECONDS = 1.0
FORCED_SECONDS = 0.5  # the same where a run is missing: many such questions must not keep the disk busy
LOCK = "added_runs.lock"
MARKS = (
    "environment.json",
    "trials",
    ".lock",
    "driver.log",
    "spec.yaml",
)  # any of which makes a folder a run


@dataclass(frozen=True)
class RunEntry:
    """A run by its place: a folder's path or a URL. ``key`` stands for it in addresses of pages."""

    location: str

    @property
    def key(self) -> str:
        return run_key(self.location)

    @property
    def name(self) -> str:
        return self.location.rstrip("/").rpartition("/")[2]

    @property
    def folder(self) -> Path | None:
        """The run's folder; ``None`` for a run at a URL."""
        return None if is_url(self.location) else Path(self.location)


def run_key(location: str) -> str:
    """Twelve hexadecimal digits for the place of a run: no path of a run is ever taken from a request."""
    return hashlib.sha256(location.encode("utf-8", "surrogatepass")).hexdigest()[:12]


class RootFolder:
    """A folder of runs. ``runs``: those of the last look that came to its end, by key; ``None`` before the first."""

    def __init__(self, root: Path) -> None:
        self.runs: dict[str, RunEntry] | None = None
        self._root = root
        self._look: threading.Thread | None = None
        self._began = float("-inf")

    def begin(self) -> None:
        """Begins to look anew, unless a look hangs."""
        self.wait()  # a look that has begun earlier may have missed the newest run
        if self._look is None or not self._look.is_alive():
            self._began = time.monotonic()
            self._look = threading.Thread(target=self._scan, name=f"runs in {self._root}", daemon=True)
            self._look.start()

    def wait(self) -> None:
        """Waits for the end of a look, until :data:`PATIENCE_SECONDS` after its beginning."""
        if self._look is not None:
            self._look.join(max(0.0, self._began + PATIENCE_SECONDS - time.monotonic()))

    def _scan(self) -> None:
        self.runs = {entry.key: entry for entry in _runs_in(self._root)}


class RunIndex:
    """The runs below ``roots`` (folders or URLs), looked at anew at most every two seconds."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._lock = threading.Lock()
        self._folders = [RootFolder(Path(root)) for root in roots if not is_url(root)]
        self._at_urls = [RunEntry(root.rstrip("/")) for root in roots if is_url(root)]
        self._added = list[RunEntry]()
        self._looked = float("-inf")

    def entries(self, *, now: bool = False) -> list[RunEntry]:
        """All runs. ``now`` looks again, however short ago the last look was. Blocks a second on a slow disk."""
        with self._lock:
            if now or time.monotonic() - self._looked > SCAN_SECONDS:
                self._look()
            return list(self._known().values())

    def get(self, key: str) -> RunEntry | None:
        """The run with a key. A run that isn't known is looked for, as it may have begun just now; looks are half a
        second apart, and all who wait for one share it.
        """
        asked = time.monotonic()
        if key not in self._known():
            time.sleep(max(0.0, self._looked + FORCED_SECONDS - asked))
            with self._lock:
                if self._looked < asked:
                    self._look()
        return self._known().get(key)

    @property
    def is_reading(self) -> bool:
        """Whether the first look at a folder hasn't ended, so that runs may be missing."""
        return any(folder.runs is None for folder in self._folders)

    def knows(self, key: str) -> bool:
        """Whether a look has found the run; looks at nothing."""
        return key in self._known()

    def _known(self) -> dict[str, RunEntry]:
        at_urls: list[RunEntry] = [*self._at_urls, *self._added]
        known = {entry.key: entry for entry in at_urls}
        for folder in self._folders:
            known |= folder.runs or {}
        return known

    def _look(self) -> None:
        began = time.monotonic()
        self._added = [RunEntry(url) for url in _added_urls()]
        for folder in self._folders:
            folder.begin()
        for folder in self._folders:
            folder.wait()
        self._looked = began

    def add(self, url: str) -> RunEntry:
        """Adds a run at a URL, kept for the next start. Raises ``ValueError`` for what is no URL of a remote store."""
        url = _checked(url)
        with locked(_added_file().with_name(LOCK)):
            _write_added(dict.fromkeys([*_added_urls(), url]))
        self.entries(now=True)
        return RunEntry(url)

    def remove(self, key: str) -> bool:
        """Takes a run that was added out of the list; the run itself stays. Returns whether there was one."""
        with locked(_added_file().with_name(LOCK)):
            urls = _added_urls()
            kept = [url for url in urls if run_key(url) != key]
            if len(kept) < len(urls):
                _write_added(kept)
        self.entries(now=True)
        return len(kept) < len(urls)


def _runs_in(root: Path) -> Iterator[RunEntry]:
    try:
        folders = sorted(root.iterdir())
    except OSError:
        return
    for folder in folders:
        # A link is a folder of somebody else's choosing.
        if folder.is_dir() and not folder.is_symlink() and any((folder / mark).exists() for mark in MARKS):
            yield RunEntry(str(folder.absolute()))


def added_keys() -> frozenset[str]:
    """The keys of the runs that were added by their URLs."""
    return frozenset(map(run_key, _added_urls()))


def _checked(url: str) -> str:
    if not is_url(url):
        raise ValueError(f"{url!r} is no URL of a run, such as s3://bucket/runs/methods")
    if url.partition("://")[0] not in REMOTE_STORES:
        known = ", ".join(f"{scheme}://" for scheme in sorted(REMOTE_STORES))
        raise ValueError(f"{url}: a run is added from one of {known}; for others, start the UI with --runs")
    return checked(url)


def _is_kept(url: object) -> bool:
    try:
        return isinstance(url, str) and _checked(url) == url
    except ValueError:
        return False


def _write_added(urls: Iterable[str]) -> None:
    files.write_text(_added_file(), json.dumps(list(urls)))


def _added_file() -> Path:
    return home() / "ui" / "added_runs.json"


def _added_urls() -> list[str]:
    try:
        urls = json.loads(_added_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [url for url in urls if _is_kept(url)] if isinstance(urls, list) else []
