"""A sweep that outlives the terminal: its driver is a job of the cluster, or a process with a session of its own.

Both carry out the same orders and write to the same ``driver.log``. Whoever asked is told once the driver holds the run
and has made its folder, so that ``status`` and ``stop`` work from then on, or what it said instead.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from sweeps.execution.detached.driver import Driver, NotBegun
from sweeps.execution.detached.run_request import Orders
from sweeps.runs.layout import LOG
from trainables.storage.urls import is_url

LOOK_SECONDS = 0.1


def begin(run: Path, orders: Orders) -> str:
    """Starts a driver, and returns who it is once it has begun. Raises :class:`NotBegun`."""
    path = orders.leave(run)
    log = run / LOG
    before = log.stat().st_size if log.exists() else 0
    try:
        # A run at a URL is mirrored here, where nobody else reads it.
        with _driver(run, path, None if is_url(orders.options.output) else orders.options.address) as driver:
            code = _wait(driver, path)
    finally:
        path.unlink(missing_ok=True)
    if code is not None:
        said = log.read_bytes()[before:].decode(errors="replace") if log.exists() else ""
        raise NotBegun(said.strip() or f"{driver.name} ended with code {code}", code)
    return driver.name


def _wait(driver: Driver, path: Path) -> int | None:
    """Until the driver has taken its orders away, or has ended: its exit code."""
    try:
        while _is_there(path):
            if (code := driver.ended()) is not None:
                return code
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        driver.call_off()
        raise
    return None


def _is_there(path: Path) -> bool:
    """By opening it: a network file system may tell from memory whether a file exists, but not what is in it."""
    try:
        path.open().close()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _driver(run: Path, path: Path, address: str | None) -> Iterator[Driver]:
    if address is None:
        yield _process(run, path)
        return
    from sweeps.execution.detached import cluster_job

    with cluster_job.submitted(run, path, address) as job:
        yield job or _process(run, path)


def _process(run: Path, path: Path) -> Driver:
    """A process that no terminal's end reaches: of its own session, with nobody at its standard input."""
    with (run / LOG).open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweeps.cli", "drive", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Driver(f"process {process.pid} on {socket.gethostname()}", process.poll, process.terminate)


@contextmanager
def logged() -> Iterator[None]:
    """Ends the process with the block's exit code, the last line of its log; the stack trace of a fault is above it."""
    code = 0
    try:
        yield
    except typer.Exit as ended:
        code = ended.exit_code
    except BaseException:
        traceback.print_exc()
        code = 1
    print(f"ended with code {code}", file=sys.stderr)
    sys.exit(code)
