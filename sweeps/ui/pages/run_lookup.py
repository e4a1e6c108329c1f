"""The run that a page is about, by its key; the trial by its id among those that the run has.

A first read is waited for in the event loop: those who wait must hold no thread that another page needs.
"""

from __future__ import annotations

import asyncio
import re
import time

from starlette.exceptions import HTTPException
from starlette.requests import Request

from sweeps.ui.context import ui_of
from sweeps.ui.rendering import translator
from sweeps.ui.snapshots.followed import Followed

KEY = re.compile(r"[0-9a-f]{12}")
TRIAL = re.compile(r"[\w.-]{1,128}")
FIRST_SECONDS = 0.5  # that a page waits for the first read of a run; the rest comes by the event stream
READ_SECONDS = 20.0  # that what a page loads later waits
NEXT_SECONDS = 1.5  # that a trial is waited for which the last read did not find
LOOK_SECONDS = 0.02  # between two looks whether the first read has ended
ROOTS_SECONDS = 15.0  # that an unknown run waits for the first look at all folders


async def followed_run(request: Request, key: str | None = None, wait: float = FIRST_SECONDS) -> Followed:
    """Raises ``HTTPException`` 404 for a key that no run has, 503 while folders were never read to the end."""
    key = key if key is not None else request.path_params["key"]
    ui = ui_of(request)
    found = await asyncio.to_thread(ui.snapshots.state, key) if KEY.fullmatch(key) else None
    if found is None and KEY.fullmatch(key) and ui.runs.is_reading:
        until = time.monotonic() + ROOTS_SECONDS
        while ui.runs.is_reading and not ui.runs.knows(key) and time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
        if ui.runs.knows(key):
            found = await asyncio.to_thread(ui.snapshots.state, key)
        elif ui.runs.is_reading:
            raise HTTPException(503, translator(request)("run.folders_reading"))
    if found is None:
        raise HTTPException(404, translator(request)("run.unknown", key=key))
    until = time.monotonic() + wait
    while not found.first_read.is_set() and time.monotonic() < until:
        await asyncio.sleep(LOOK_SECONDS)
    return found


async def read_run(request: Request, key: str | None = None) -> Followed:
    """The same once it has been read. Raises ``HTTPException`` 503 with the problem where it can't be."""
    found = await followed_run(request, key, READ_SECONDS)
    if found.snapshot is None or found.reader is None:
        raise HTTPException(503, found.problem or translator(request)("run.reading"))
    return found


async def trial_id(request: Request, found: Followed, trial: str | None = None) -> str:
    """A trial of the run, by its id in the address. Raises ``HTTPException`` 404 for what is none of the run's.

    A trial that is younger than what is known of the run is waited for until the next read.
    """
    trial = trial if trial is not None else request.path_params["trial"]
    is_name = TRIAL.fullmatch(trial) is not None
    until = time.monotonic() + NEXT_SECONDS
    while is_name and not _may_have(found, trial) and time.monotonic() < until:
        await asyncio.sleep(LOOK_SECONDS)
    if not is_name or not _may_have(found, trial):
        raise HTTPException(404, translator(request)("run.no_trial", trial=trial[:40]))
    return trial


def _may_have(found: Followed, trial: str) -> bool:
    # Of a run that was not read yet, nothing is known: the event stream answers then.
    return found.snapshot is None or trial in found.snapshot.rows
