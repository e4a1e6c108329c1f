"""Runs a plan to its end: through storage outages, up to the tables of the run folder."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.cluster import node_resources
from sweeps.cluster.packing import fits
from sweeps.console.sweep_progress import SweepProgress
from sweeps.execution import preflight
from sweeps.execution.run_folder import add_seconds
from sweeps.planning.memory import calibration
from sweeps.planning.plan import Plan
from sweeps.planning.resources.sizes import Sizes
from sweeps.planning.times import speeds
from sweeps.runs.layout import has_begun
from sweeps.runs.mirror import RunMirror
from sweeps.runs.trial_requests import open_requests
from sweeps.search.shutdown import Shutdown
from sweeps.spec.problems import SpecError
from trainables import results
from trainables.storage import outage
from trainables.storage.url_store import StorageError
from trainables.system.machine import nvidia_devices
from trainables.system.wording import counted

if TYPE_CHECKING:
    from sweeps.execution.sweep_driver import SweepDriver

PATIENCE_MINUTES = outage.PATIENCE_SECONDS / 60


def run(
    plan: Plan,
    run_folder: Path,
    address: str | None,
    progress: SweepProgress,
    mirror: RunMirror,
    resume: bool = False,
    force: bool = False,
) -> None:
    """Runs the remaining trials of a plan; returns once every trial has a record and the tables are written.

    The nodes of a cluster are examined here for a run that is resumed and has work left; for a new run the caller does
    that before its folder is made. A trial that is predicted not to fit in memory becomes a row and is not started,
    unless ``force``.

    Raises :class:`~sweeps.execution.sweep_driver.SweepInterrupted` when interrupted, ``StorageError`` when the run's
    store failed for too long, ``DataError`` for rows that no trial could be trained on.
    """
    from sweeps.execution.sweep_driver import SweepDriver

    shutdown = Shutdown()

    def new_driver() -> SweepDriver:
        # A mirror that can't write ends its driver as Ctrl-C does; the driver after the outage is not ending.
        shutdown.withdraw()
        return SweepDriver(plan, run_folder, address, progress, mirror, shutdown, force)

    driver = new_driver()
    started = time.monotonic()
    try:
        if driver.work_left() and resume and address is not None:
            output = mirror.store.url.rpartition("/")[0] if mirror.store else str(run_folder.parent)
            preflight.refuse(plan, output, address)
        _sweep_over_outages(driver, new_driver, run_folder, progress, mirror)
    finally:
        _remove_ray_state(run_folder)
        # Also after an interruption, so that a report can be written of what has finished.
        try:
            _write_results(plan, run_folder, time.monotonic() - started)
        except OSError as error:
            # After Ctrl-C nobody wants to wait until a full disk has space again, or for a folder that is gone.
            if shutdown.requested:
                progress.log(f"the tables could not be written: {error}")
            elif _storage_is_back(error, run_folder, progress):
                _write_results(plan, run_folder, time.monotonic() - started)
            else:
                raise


def _sweep_over_outages(
    driver: SweepDriver,
    new_driver: Callable[[], SweepDriver],
    run_folder: Path,
    progress: SweepProgress,
    mirror: RunMirror,
) -> None:
    """Sweeps until no work is left. After a storage outage a new driver reads from the run folder what remains."""
    while driver.work_left():
        try:
            _remove_ray_state(run_folder)
            driver.sweep()
            # Trials may have been added by hand since the search said that nothing is left.
            if not open_requests(run_folder).additions:
                return
            driver = new_driver()
        except Exception as error:
            # Ctrl-C is no `Exception`, so it ends the sweep without a question about the storage.
            if not _storage_is_back(error, run_folder, progress):
                raise
            mirror.restart()
            driver = new_driver()


def _write_results(plan: Plan, run_folder: Path, seconds: float) -> None:
    """Writes the run's tables, its time, and the measured peaks that correct later predictions.

    Raises ``FileNotFoundError`` for a folder that is gone: files of an empty run would stand in its place.
    """
    if not has_begun(run_folder):
        raise FileNotFoundError(f"the run folder {run_folder} is gone, and its trials with it")
    results.write_tables(run_folder)
    records = results.read_run(run_folder).records
    calibration.store_residuals(plan.cells, records)
    speeds.store_speeds(plan.cells, records, seconds)
    add_seconds(run_folder, seconds)


def _storage_is_back(error: Exception, run_folder: Path, progress: SweepProgress) -> bool:
    """Whether a sweep ended because its folder could not be written to, and now it can; waits for that."""
    reason = outage.storage_failure(error, run_folder)
    if reason is None or isinstance(error, StorageError):  # a store at a URL was waited for long enough
        return False
    progress.log(f"nothing can be written: {reason}; the sweep continues once it can; Ctrl-C ends it")
    if not outage.wait_until_writable(run_folder):
        raise StorageError(
            f"nothing could be written for {PATIENCE_MINUTES:.0f} minutes: {reason}"
        ) from error
    return True


def _remove_ray_state(run_folder: Path) -> None:
    """Removes Ray's own state: nothing resumes from it, and it holds pickles, which anybody may have replaced."""
    shutil.rmtree(run_folder / ".ray", ignore_errors=True)


def refuse_too_large(plan: Plan) -> None:
    """Raises ``SpecError`` for a trial that needs more than this machine has, which would wait forever.

    Memory is not checked: a trial that is predicted not to fit becomes a row of the report.
    """
    machine = node_resources.this_machine()
    local = replace(machine, memory=None, gpus=max(machine.gpus, len(nvidia_devices())))
    for cell in plan.cells:
        size = replace(Sizes((local,)).smallest(cell), memory=0)
        if not fits([local], [size]):
            what = (
                f"a trial of {cell.name} needs {size}, and this machine has {local}. Request less, or run on a "
                "cluster with --address"
            )
            raise SpecError(plan.spec.source.problem(("resources",), what))


def exit_code(run_folder: Path) -> int:
    """0 when every trial ended well; 1 when some failed. Stopped and out of memory are results."""
    records = results.read_run(run_folder).records
    failed = [record for record in records if record.status in ("failed", "interrupted")]
    trials = [record for record in records if record.role != "base"]
    if unscored := [record for record in failed if record.role == "base"]:
        print(f"{', '.join(record.cell for record in unscored)} failed; the report says why", file=sys.stderr)
    if some := len([record for record in failed if record.role != "base"]):
        print(f"{some} of {counted(len(trials), 'trial')} failed; the report says why", file=sys.stderr)
    return 1 if failed else 0
