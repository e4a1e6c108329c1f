"""A job: one of Paretune's commands that the UI started, and what has become of it."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from typing import Any, Literal

from sweeps.ui.children.job_folder import JOB, LOG, OUTPUT, JobFolder
from sweeps.ui.children.output import JobOutput, OutputFile, read_log
from sweeps.ui.children.wrapper import EXIT_CODE
from trainables.system.process_identity import ProcessIdentity

# dead: its processes have ended, and nobody wrote the exit code.
State = Literal["running", "cancelling", "done", "failed", "cancelled", "dead"]
START_SECONDS = 20.0  # a wrapper that has not begun after this time has died


@dataclass(frozen=True)
class Job:
    """``command`` is what a person would type; secrets in it are hidden."""

    id: str
    kind: str
    argv: tuple[str, ...]
    cwd: str
    title: str
    run: str | None
    started_at: float  # seconds since 1970
    ended_at: float | None
    state: State
    exit_code: int | None
    folder: JobFolder

    @classmethod
    def read(cls, folder: JobFolder) -> Job | None:
        """The job of a folder; ``None`` for a folder that is none."""
        match job := folder.read(JOB):
            case {"kind": str(kind), "argv": list(argv), "cwd": str(cwd), "started_at": int() | float()}:
                started = float(job["started_at"])
            case _:
                return None
        state, code = _state(folder, started)
        return cls(
            id=folder.path.name,
            kind=kind,
            argv=tuple(map(str, argv)),
            cwd=cwd,
            title=str(job.get("title") or kind),
            run=job["run"] if isinstance(job.get("run"), str) else None,
            started_at=started,
            ended_at=None if state in ("running", "cancelling") else _ended_at(folder, started),
            state=state,
            exit_code=code,
            folder=folder,
        )

    @property
    def ended(self) -> bool:
        return self.state not in ("running", "cancelling")

    @property
    def command(self) -> str:
        return shlex.join(["paretune", *self.argv])

    def log(self) -> str:
        """The end of what the command wrote to standard error, as pages may show it."""
        return read_log(self.folder.path / LOG)

    def output(self) -> JobOutput:
        """What the command wrote to standard output: events, progress and the result."""
        return OutputFile(self.folder.path / OUTPUT).read(self.ended)

    def summary(self) -> dict[str, Any]:
        """The job as JSON for pages, without its output."""
        names = (
            "id",
            "kind",
            "cwd",
            "title",
            "run",
            "started_at",
            "ended_at",
            "state",
            "exit_code",
            "command",
        )
        return {name: getattr(self, name) for name in names} | {"argv": list(self.argv)}


def identities(folder: JobFolder) -> list[ProcessIdentity]:
    """The recorded processes of a job that are running: its wrapper, its command."""
    recorded = folder.processes
    known = (ProcessIdentity.from_json(recorded.get(name)) for name in ("wrapper", "command"))
    return [each for each in known if each is not None and each.is_running()]


def _state(folder: JobFolder, started: float) -> tuple[State, int | None]:
    # The processes first: a command that ends in between has then left its exit code.
    begun, running = bool(folder.processes), bool(identities(folder))
    code = folder.exit_code
    if code is not None:
        return ("done" if code == 0 else "cancelled" if folder.cancel_requested else "failed"), code
    if running or (not begun and time.time() - started < START_SECONDS):
        return ("cancelling" if folder.cancel_requested else "running"), None
    return ("cancelled" if folder.cancel_requested else "dead"), None


def _ended_at(folder: JobFolder, started: float) -> float:
    """When a job ended; for a dead one, when it last wrote something."""
    if (written := folder.modified(EXIT_CODE)) is not None:
        return written
    times = (folder.modified(name) for name in (OUTPUT, LOG))
    return max((each for each in times if each is not None), default=started)
