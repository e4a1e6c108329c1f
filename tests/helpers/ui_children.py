"""Small programs that stand in for Paretune's commands, where a test is about processes rather than about a command."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.ui.children import jobs as jobs_module
from sweeps.ui.children import short_commands
from sweeps.ui.children.job import Job
from sweeps.ui.children.job_folder import JOB, LOG, OUTPUT, JobFolder
from sweeps.ui.children.jobs import Jobs
from sweeps.ui.children.wrapper import EXIT_CODE


def use_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a job's arguments are a Python program and its arguments."""
    for module in (jobs_module, short_commands):
        monkeypatch.setattr(module, "command_line", lambda argv: [sys.executable, "-c", *argv])


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def ended(jobs: Jobs, job: Job) -> Job:
    """The job once it has ended."""
    wait_for(lambda: (now := jobs.get(job.id)) is not None and now.ended)
    now = jobs.get(job.id)
    assert now is not None
    return now


def write_job(folder: Path, started: float = 1.7e9, title: str = "methods", code: int = 1) -> str:
    """A job that has ended, in the folder of jobs; returns its id."""
    job = JobFolder(folder / secrets.token_hex(8))
    job.make()
    values = {"kind": "export", "argv": ["export", "runs/methods", "out"], "cwd": str(folder), "title": title}
    job.write(JOB, {**values, "run": None, "started_at": started})
    (job.path / EXIT_CODE).write_text(str(code), encoding="ascii")
    (job.path / LOG).write_text("a folder of a long name " * 20 + "exists already", encoding="utf-8")
    (job.path / OUTPUT).touch()
    return job.path.name


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def private(path: Path) -> bool:
    """Whether only its owner may do anything with a file or folder."""
    return os.stat(path).st_mode & 0o077 == 0
