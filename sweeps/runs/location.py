"""Where a run is: in a folder, or at a URL that the driver mirrors in a local folder. Commands need not know which.

>>> new_run("runs", "methods").display_name  # doctest: +SKIP
'/home/ada/runs/methods'
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sweeps.cluster import url_access
from sweeps.runs import layout, lease, lock, reading
from sweeps.runs.foreign_entries import require_readable
from sweeps.runs.layout import STOP
from sweeps.runs.mirror import Mirror, NoMirror, RunMirror
from sweeps.runs.mirror_rules import needed_by_driver
from sweeps.runs.proposals import is_run, proposed_run
from sweeps.runs.status import NoRun, RunState, run_state
from sweeps.spec.problems import Problem, SpecError
from trainables.storage import files
from trainables.storage.home import home
from trainables.storage.url_store import Store
from trainables.storage.urls import is_url
from trainables.system import provenance


class RunLocation(Protocol):
    """A run by its location. ``folder`` is where its driver works on this machine, ``display_name`` what users call it,
    ``output`` the folder or URL that the run is in, and ``mirror`` synchronizes ``folder`` with the run.
    """

    @property
    def folder(self) -> Path: ...

    @property
    def display_name(self) -> str: ...

    @property
    def output(self) -> str: ...

    @property
    def mirror(self) -> RunMirror: ...

    def held(self, resume: bool) -> AbstractContextManager[None]:
        """Holds the run within the block. Raises ``SpecError`` that says which process holds it."""

    def require_free(self) -> None:
        """Raises ``SpecError`` where another process holds the run."""

    def holder(self) -> str | None:
        """The process that holds the run, in words; ``None`` when none does."""

    def request_stop(self) -> None:
        """Asks the process that holds the run to end it as Ctrl-C would."""

    def request(self, name: str, content: dict[str, Any]) -> None:
        """Writes the file of a request (``trial_requests``) into the run."""

    def environment(self) -> dict[str, Any] | None:
        """The contents of the run's ``environment.json``; ``None`` where there is no run yet."""

    def state(self) -> RunState:
        """What the run is doing. Raises ``NoRun``."""

    def local_copy(self, names: Callable[[str], bool] = needed_by_driver) -> AbstractContextManager[Path]:
        """A folder for reading that has at least the run's files of these names."""

    def publish_report(self, report: Path, copy: Path) -> str:
        """Copies a report that was written in ``copy`` to the run; returns its path or URL."""

    def display_path(self, path: Path) -> str:
        """The path or URL of a file in the run's folder."""


class RunFolder:
    """A run whose folder this machine has."""

    def __init__(self, run: Path) -> None:
        self.folder, self.display_name, self.output = run, str(run), str(run.parent)
        self.mirror = NoMirror()

    @contextmanager
    def held(self, resume: bool) -> Iterator[None]:
        with lock.held(self.folder):
            yield

    def require_free(self) -> None:
        lock.require_free(self.folder)

    def holder(self) -> str | None:
        return lock.holder(self.folder)

    def request_stop(self) -> None:
        lock.request_stop(self.folder)

    def request(self, name: str, content: dict[str, Any]) -> None:
        files.write_json(self.folder / name, content)

    def environment(self) -> dict[str, Any] | None:
        return layout.read_environment(self.folder)

    def state(self) -> RunState:
        return run_state(self.folder)

    @contextmanager
    def local_copy(self, names: Callable[[str], bool] = needed_by_driver) -> Iterator[Path]:
        yield self.folder

    def publish_report(self, report: Path, copy: Path) -> str:
        return str(report)

    def display_path(self, path: Path) -> str:
        return str(path)


class RunAtUrl:
    """A run at a URL, and its mirror on this machine."""

    def __init__(self, url: str, output: str) -> None:
        """Raises ``ValueError`` for a URL that can't be used."""
        self.store, self.display_name, self.output = Store(url), url, output
        # The hash tells runs of one name at several URLs apart; the folder itself is called like the run.
        self.folder = home() / "mirrors" / files.sha256(url)[:12] / url.rpartition("/")[2]
        self.mirror = Mirror(self.store, self.folder)

    @contextmanager
    def held(self, resume: bool) -> Iterator[None]:
        # The mirror's lock first: two drivers on one machine would share the folder.
        with lock.held(self.folder), lease.hold_lease(self.store, self._end_after_takeover, patient=resume):
            # Fetched under the lease, so that no other driver changes the run any more. On the way out, the
            # last push is done before the lease is given up.
            self.mirror.fetch()
            with self.mirror.following():
                yield

    def require_free(self) -> None:
        lock.require_free(self.folder)
        if (holder := self.holder()) is not None:
            raise SpecError(lock.held_by(self.display_name, holder))

    def _end_after_takeover(self) -> None:
        # Closed first, because whatever is still written here must not reach the new holder's run. The
        # lease's own thread calls this; the signal has the main thread end the sweep as after Ctrl-C.
        self.mirror.close()
        print(f"{self.display_name}: another process has taken the run over; this one ends", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)

    def holder(self) -> str | None:
        return lease.holder(self._impatient_store())

    def request_stop(self) -> None:
        self._impatient_store().write(STOP, provenance.now().encode())

    def request(self, name: str, content: dict[str, Any]) -> None:
        self._impatient_store().write(name, json.dumps(content, ensure_ascii=False).encode())

    def environment(self) -> dict[str, Any] | None:
        content = self._impatient_store().read("environment.json")
        return (
            layout.checked_environment(content, f"{self.display_name}/environment.json") if content else None
        )

    def state(self) -> RunState:
        with self.local_copy(is_status_file) as copy:
            return run_state(copy, self.display_name, self.holder)

    @contextmanager
    def local_copy(self, names: Callable[[str], bool] = needed_by_driver) -> Iterator[Path]:
        with reading.local_copy(self.display_name, names) as copy:
            yield copy

    def publish_report(self, report: Path, copy: Path) -> str:
        # A report with an output folder of its own is on this machine already.
        if not report.is_relative_to(copy):
            return str(report)
        pages = [path for path in report.parent.rglob("*") if path.is_file()]
        tables = [copy / "trials.parquet", copy / "curves.parquet"]
        self.store.push(copy, [str(path.relative_to(copy)) for path in (*tables, *pages)])
        return f"{self.display_name}/{report.relative_to(copy)}"

    def display_path(self, path: Path) -> str:
        return f"{self.display_name}/{path.relative_to(self.folder)}"

    def _impatient_store(self) -> Store:
        """For short questions: a store that fails is not waited for as long as a sweep would."""
        return Store(self.display_name, reading.PATIENCE_SECONDS)


def new_run(output: str, name: str) -> RunLocation:
    """The location ``OUTPUT/NAME``, whether or not there is a run yet.

    Raises ``SpecError`` for an unusable URL, and ``DamagedFile`` for a folder that can't be read to its end.
    """
    if not is_url(output):
        return _in_folder((Path(output) / name).resolve())
    try:
        return RunAtUrl(f"{output.rstrip('/')}/{name}", output)
    except ValueError as error:
        raise SpecError(Problem("--output", "", str(error))) from error


def existing_run(run: str) -> RunLocation:
    """The location of a run that users name by its folder or URL.

    Raises ``ValueError`` for an unusable URL, ``NoRun`` for a folder that is none where one of a similar name is, and
    ``DamagedFile`` for one that can't be read to its end.
    """
    if not is_url(run):
        folder = Path(run)
        if not is_run(folder) and (proposal := proposed_run(run)):
            what = "is no run's folder" if folder.exists() else "there is no such folder"
            raise NoRun(f"{run}: {what}{proposal}")
        return _in_folder(folder)
    return RunAtUrl(run.rstrip("/"), run.rstrip("/").rpartition("/")[0])


def _in_folder(run: Path) -> RunFolder:
    require_readable(run)
    return RunFolder(run)


def require_access(location: RunLocation) -> None:
    """Raises ``SpecError`` where a run's URL can't be written and read from this machine."""
    if location.mirror.store is not None:
        access = url_access.from_this_machine(location.output)
        if not access.works:
            raise SpecError(Problem("--output", "", access.detail))


def is_status_file(name: str) -> bool:
    """Whether a file of a run tells what the run is doing."""
    return needed_by_driver(name) and name.endswith((".json", ".jsonl", "error.txt", ".log"))
