"""Ends a job: as Ctrl-C does at first, and by force if it has not ended after ten seconds."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from sweeps.ui.children.job import START_SECONDS, identities
from sweeps.ui.children.job_folder import JobFolder
from trainables.system.process_identity import ProcessIdentity, group_members

# Seconds after the request: an orderly end, a quick one, the end of every process of the group.
STEPS = ((0.0, signal.SIGINT), (5.0, signal.SIGTERM), (10.0, signal.SIGKILL))
POLL_SECONDS = 0.1


def end_processes(folder: JobFolder) -> None:
    """Ends the processes of a job and waits for that. Only processes with the recorded number and start are touched."""
    _wait_for_start(folder)
    group = _group(folder)
    if group is None:
        return
    begun = time.monotonic()
    for after, number in STEPS:
        while time.monotonic() - begun < after:
            if not _command_running(folder):
                break
            time.sleep(POLL_SECONDS)
        if not _command_running(folder):
            break
        _signal_group(group, number)
    _end_remaining(group, folder)


def _wait_for_start(folder: JobFolder) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not folder.processes and folder.exit_code is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _group(folder: JobFolder) -> int | None:
    """The process group of a job: that of its wrapper, which leads it, as long as the wrapper or the command runs."""
    for process in identities(folder):
        with suppress(ProcessLookupError):
            group = os.getpgid(process.pid)
            if process.is_running() and group > 1 and group != os.getpgrp():
                return group
    return None


def _command_running(folder: JobFolder) -> bool:
    command = ProcessIdentity.from_json(folder.processes.get("command"))
    return command is not None and command.is_running()


def _end_remaining(group: int, folder: JobFolder) -> None:
    """Kills what the command left in its group. A number of a group is not given again as long as it has members."""
    deadline = time.monotonic() + 1.0
    while identities(folder) and time.monotonic() < deadline:  # the wrapper writes the exit code
        time.sleep(POLL_SECONDS)
    if group_members(group):
        _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
