"""Starts a sweep that outlives the terminal: its driver is a job of the cluster, or a process in its own session.

Both execute the same request and write to the same ``driver.log``. The command that starts them returns once the driver
holds the run and has made its folder, so that ``status`` and ``stop`` work from then on; or with the driver's output.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from sweeps.execution.detached import driver_process
from sweeps.execution.detached.driver import DetachedDriver, DriverNotStarted
from sweeps.execution.detached.run_request import STDIN, RunRequest
from sweeps.runs.layout import BEGUN, LOG
from trainables.storage import files
from trainables.storage.urls import is_url

POLL_SECONDS = 0.1  # between checks of whether the driver has begun


def start_driver(run: Path, request: RunRequest) -> str:
    """Starts a driver and returns its name once the sweep has begun. Raises :class:`DriverNotStarted`."""
    run.mkdir(parents=True, exist_ok=True)
    log, begun = run / LOG, run / BEGUN.format(request.token)
    # The log also has the output of this run's earlier drivers, which is not to be shown as this one's.
    old_bytes = log.stat().st_size if log.exists() else 0
    try:
        with _driver(run, request) as driver:
            code = _wait(driver, begun)
    finally:
        begun.unlink(missing_ok=True)
    if code is not None:
        output = log.read_bytes()[old_bytes:].decode(errors="replace") if log.exists() else ""
        raise DriverNotStarted(output.strip() or f"{driver.name} ended with code {code}", code)
    return driver.name


def _wait(driver: DetachedDriver, begun: Path) -> int | None:
    """Waits until the driver has begun, which writes ``begun``, or has ended: then its exit code."""
    try:
        while not _exists(begun):
            if (code := driver.exit_code()) is not None:
                # It may have begun, and ended, since the last look.
                return None if _exists(begun) else code
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        driver.stop()
        raise
    return None


def _exists(path: Path) -> bool:
    """Opens the file: a network file system may answer from memory whether one exists, but not what is in it."""
    try:
        path.open().close()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _driver(run: Path, request: RunRequest) -> Iterator[DetachedDriver]:
    # A run at a URL is mirrored on this machine, and no other one reads that folder; so the driver stays here too.
    if request.options.address is None or is_url(request.options.output):
        yield _process(run, request)
        return
    from sweeps.execution.detached import cluster_job

    path = request.write(run)
    try:
        with cluster_job.submitted_job(run, path, request.options.address) as job:
            if job is None:
                path.unlink(missing_ok=True)
            yield job or _process(run, request)
    finally:
        # A driver that never began leaves its request, which may hold keys.
        path.unlink(missing_ok=True)


def _process(run: Path, request: RunRequest) -> DetachedDriver:
    """A process that the end of the terminal doesn't reach: in its own session, with the request as standard input."""
    with files.open_to_append(run / LOG) as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sweeps.cli", "drive", STDIN],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    driver_process.record(run, process.pid)
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as pipe:  # it may have ended already
        pipe.write(request.model_dump_json().encode())
    return DetachedDriver(f"process {process.pid} on {socket.gethostname()}", process.poll, process.terminate)


@contextmanager
def exit_code_logged() -> Iterator[None]:
    """Ends the process with the block's exit code, and prints that last; a fault's stack trace is above it."""
    code = 0
    try:
        yield
    except typer.Exit as request:
        code = request.exit_code
    except BaseException:
        traceback.print_exc()
        code = 1
    print(f"ended with code {code}", file=sys.stderr)
    sys.exit(code)
