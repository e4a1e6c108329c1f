"""Jobs: commands that the UI starts, and that go on without it. Their folders are the only truth about them."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.ui.children import wrapper
from sweeps.ui.children.cancelling import end_processes
from sweeps.ui.children.command_line import command_line
from sweeps.ui.children.job import Job
from sweeps.ui.children.job_folder import CANCEL, ID, JOB, LOG, OUTPUT, JobFolder, jobs_folder, remove_older
from sweeps.ui.children.output import OutputFile
from sweeps.ui.children.short_commands import Completed, ShortCommands
from trainables.system.redaction import redacted_values

KEPT_SECONDS = 7 * 24 * 3600.0
KEPT_JOBS = 200
KEPT_BESIDE = ("reports", "configs")  # pages/home.py and drafts/memory_grid.py write them
POLL_SECONDS = 0.4
SILENCE_SECONDS = 10.0


@dataclass(frozen=True)
class JobEvent:
    """An event for a page: ``state`` with everything, ``changes`` with what has changed, ``alive`` after a silence, and
    ``ended``.
    """

    name: str
    data: dict[str, Any]


class NotStarted(OSError):  # noqa: N818
    """A job whose process could not be started; the message says why."""


class Jobs:
    """The jobs of this user on this machine, of earlier UIs, too."""

    def __init__(self) -> None:
        self.folder = jobs_folder()
        self.short = ShortCommands()
        self.remove_old()
        for job in self.list():
            if job.state == "cancelling":  # the UI that was ending it has ended itself
                self._end_in_background(job.folder)

    def start(
        self, kind: str, argv: Sequence[str], cwd: Path, *, title: str = "", run: str | None = None
    ) -> Job:
        """Starts ``paretune ARGV`` as a process of its own. ``run`` is the key of the run that it is about.

        Raises ``WrongArgument`` for arguments that no process can have, and :class:`NotStarted`.
        """
        command = command_line(argv)
        self.remove_old()
        folder = JobFolder(self.folder / secrets.token_hex(8))
        values = {"kind": kind, "argv": list(argv), "cwd": str(cwd), "title": title, "run": run}
        try:
            folder.make()
            # Written before the process begins: a job that is running is always known.
            folder.write(JOB, {**redacted_values(values), "started_at": time.time()})
            _start(folder, command, cwd)
        except OSError as error:
            folder.remove()
            raise NotStarted(
                f"paretune {argv[0]} could not be started in {cwd}: {error.strerror or error}; "
                "mend that on the machine of the UI, and try again"
            ) from error
        job = self.get(folder.path.name)
        assert job is not None
        return job

    def get(self, job_id: str) -> Job | None:
        """The job with this id; ``None`` if there is none."""
        if not ID.fullmatch(job_id) or (self.folder / job_id).is_symlink():
            return None
        return Job.read(JobFolder(self.folder / job_id))

    def list(self) -> list[Job]:
        """All jobs, the newest first."""
        with suppress(OSError):
            jobs = [job for entry in self.folder.iterdir() if (job := self.get(entry.name))]
            return sorted(jobs, key=lambda job: job.started_at, reverse=True)
        return []

    def cancel(self, job_id: str) -> Job | None:
        """Begins to end a job: as Ctrl-C does, and by force after ten seconds. ``None`` if there is no such job."""
        job = self.get(job_id)
        if job is None or job.state != "running":
            return job
        job.folder.write(CANCEL, {"requested_at": time.time()})
        self._end_in_background(job.folder)
        return self.get(job_id)

    def _end_in_background(self, folder: JobFolder) -> None:
        threading.Thread(target=end_processes, args=(folder,), daemon=True).start()

    def remove_old(self) -> None:
        """Removes jobs that ended more than a week ago, and the oldest ones above 200; never one that is running.

        Reports over several runs and pasted configs, which are kept beside jobs, are removed after a week, too.
        """
        oldest = time.time() - KEPT_SECONDS
        for number, job in enumerate(self.list()):
            if job.ended and (number >= KEPT_JOBS or (job.ended_at or 0) < oldest):
                job.folder.remove()
        for name in KEPT_BESIDE:
            remove_older(self.folder.parent / name, oldest)

    async def follow(self, job_id: str) -> AsyncIterator[JobEvent]:
        """What becomes of a job: its state at once, its changes, and its end. Ends at once for an unknown job.

        The state has ``job`` (:meth:`Job.summary`), ``progress``, ``result``, ``events``, ``text`` and ``log``.
        """
        job = await asyncio.to_thread(self.get, job_id)
        if job is None:
            return
        output = OutputFile(job.folder.path / OUTPUT)
        last = await asyncio.to_thread(_page_values, job, output)
        yield JobEvent("state", last)
        spoken = time.monotonic()
        while not job.ended:
            await asyncio.sleep(POLL_SECONDS)
            job = await asyncio.to_thread(self.get, job_id)
            if job is None:
                break
            values = await asyncio.to_thread(_page_values, job, output)
            changes = {name: value for name, value in values.items() if value != last[name]}
            if changes:
                yield JobEvent("changes", changes)
                spoken = time.monotonic()
            elif time.monotonic() - spoken > SILENCE_SECONDS:
                yield JobEvent("alive", {})
                spoken = time.monotonic()
            last = values
        yield JobEvent("ended", {})

    async def run_json(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        stdin: str | None = None,
        timeout: float = 60.0,
        replaces: str | None = None,
    ) -> Completed:
        """Runs a short command and reads its output as JSON. Not a job: it ends with the UI and is not recorded.

        ``replaces`` is a name, such as ``plan:DRAFT``: a command that runs under it is ended, and its caller gets
        ``Completed(ended="replaced")``.
        """
        return await self.short.run(argv, cwd, stdin, timeout, replaces)

    async def close(self) -> None:
        """Ends short commands; jobs go on."""
        await self.short.close()


def _start(folder: JobFolder, command: list[str], cwd: Path) -> None:
    with folder.open_stream(OUTPUT) as output, folder.open_stream(LOG) as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", wrapper.__file__, str(folder.path), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            cwd=cwd,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # else it stays as a zombie


def _page_values(job: Job, output: OutputFile) -> dict[str, Any]:
    written = output.read(job.ended)
    return {
        "job": job.summary(),
        "progress": written.progress,
        "result": written.result,
        "events": list(written.events),
        "text": written.text,
        "log": job.log(),
    }
