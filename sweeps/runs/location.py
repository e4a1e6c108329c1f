"""Where a run is: in a folder, or at a URL of which the driver works in a mirror. The command line asks nothing else.

>>> at("runs", "methods").shown  # doctest: +SKIP
'/home/ada/runs/methods'
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.cluster import url_access
from sweeps.runs import layout, lease, lock, reading
from sweeps.runs.layout import STOP, Settled
from sweeps.runs.mirror import Mirror
from sweeps.runs.mirror_rules import wanted as small
from sweeps.runs.status import State, look
from sweeps.spec.problems import Problem, SpecError
from trainables.storage import files
from trainables.storage.home import home
from trainables.storage.url_store import Store
from trainables.storage.urls import is_url
from trainables.system import provenance


class InFolder:
    """A run whose folder this machine has."""

    mirror: Mirror | None = None

    def __init__(self, run: Path) -> None:
        self.folder, self.shown, self.output = run, str(run), str(run.parent)

    @contextmanager
    def held(self, resume: bool) -> Iterator[None]:
        with lock.held(self.folder):
            yield

    def refuse_held(self) -> None:
        """Raises ``SpecError`` where somebody holds the run."""
        lock.refuse_held(self.folder)

    def fetch(self) -> None:
        """Has the folder hold what is where the run is."""

    def settled(self) -> Settled:
        """Which trials of earlier runs it began with."""
        return layout.settled(self.folder)

    def holder(self) -> str | None:
        return lock.holder(self.folder)

    def ask_to_stop(self) -> None:
        lock.ask_to_stop(self.folder)

    def say_with(self, say: Callable[[str], None]) -> None:
        """Has trouble with the storage be told."""

    def hurry(self) -> None:
        """The sweep was interrupted: what is left to be written is not waited for long."""

    def settle(self) -> None:
        """Has all that was written be where the run is."""

    def name_of(self, path: Path) -> str:
        """What a file of the run's folder is called."""
        return str(path)

    @contextmanager
    def copied(self, names: Callable[[str], bool] = small) -> Iterator[Path]:
        """A folder to read in, with at least the files of these names."""
        yield self.folder

    def kept(self, report: Path, copy: Path) -> str:
        """Has a report that was written in a copy be where the run is, too; what it is called."""
        return str(report)

    def look(self) -> State:
        """What the run is doing. Raises ``NoRun``."""
        return look(self.folder)


class AtUrl:
    """A run at a URL, and its mirror on this machine."""

    def __init__(self, url: str, output: str) -> None:
        """Raises ``ValueError`` for a URL that can't be used."""
        self.store, self.shown, self.output = Store(url), url, output
        self.folder = home() / "mirrors" / files.sha256(url)[:12] / url.rpartition("/")[2]
        self.mirror = Mirror(self.store, self.folder)

    @contextmanager
    def held(self, resume: bool) -> Iterator[None]:
        with lock.held(self.folder), lease.held(self.store, self._lost, patient=resume):
            self.mirror.fetch()
            with self.mirror.following():
                yield

    def refuse_held(self) -> None:
        lock.refuse_held(self.folder)
        if (holder := self.holder()) is not None:
            raise SpecError(lock.held_by(self.shown, holder))

    def fetch(self) -> None:
        self.mirror.fetch()

    def _lost(self) -> None:
        self.mirror.closed = True
        print(f"{self.shown}: another run has taken it over; this one ends", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)

    def settled(self) -> Settled:
        there = self._quick().read("environment.json")
        return layout.settled_in(json.loads(there)) if there else {}

    def holder(self) -> str | None:
        return lease.holder(self._quick())

    def ask_to_stop(self) -> None:
        self._quick().write(STOP, provenance.now().encode())

    def say_with(self, say: Callable[[str], None]) -> None:
        self.mirror.say = say

    def hurry(self) -> None:
        self.mirror.hurry()

    def settle(self) -> None:
        self.mirror.push(last=True)

    def name_of(self, path: Path) -> str:
        return f"{self.shown}/{path.relative_to(self.folder)}"

    def kept(self, report: Path, copy: Path) -> str:
        if not report.is_relative_to(copy):
            return str(report)
        made = [path for path in report.parent.rglob("*") if path.is_file()]
        tables = [copy / "trials.parquet", copy / "curves.parquet"]
        self.store.push(copy, [str(path.relative_to(copy)) for path in (*tables, *made)])
        return f"{self.shown}/{report.relative_to(copy)}"

    def look(self) -> State:
        with self.copied(tells_of_it) as copy:
            return look(copy, self.shown, self.holder)

    @contextmanager
    def copied(self, names: Callable[[str], bool] = small) -> Iterator[Path]:
        with reading.copied(self.shown, names) as copy:
            yield copy

    def _quick(self) -> Store:
        return Store(self.shown, reading.PATIENCE_SECONDS)


Place = InFolder | AtUrl


def at(output: str, name: str) -> Place:
    """The place of the run ``OUTPUT/NAME``. Raises ``SpecError`` for a URL that can't be used."""
    if not is_url(output):
        return InFolder((Path(output) / name).resolve())
    try:
        return AtUrl(f"{output.rstrip('/')}/{name}", output)
    except ValueError as error:
        raise SpecError(Problem("--output", "", str(error))) from error


def of(run: str) -> Place:
    """The place of a run that is there. Raises ``ValueError`` for a URL that can't be used."""
    return AtUrl(run.rstrip("/"), run.rstrip("/").rpartition("/")[0]) if is_url(run) else InFolder(Path(run))


def refuse_here(place: Place) -> None:
    """Raises ``SpecError`` where a run's URL can't be written and read from this machine."""
    if isinstance(place, AtUrl):
        found = url_access.here(place.output)
        if not found.works:
            raise SpecError(Problem("--output", "", found.detail))


def tells_of_it(name: str) -> bool:
    """Whether a file of a run tells what it is doing."""
    return small(name) and name.endswith((".json", ".jsonl", "error.txt", ".log"))
