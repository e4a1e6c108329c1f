"""What a detached driver executes. It may hold keys, so only that driver gets to see it.

A driver on this machine reads it from a pipe. A job of a cluster reads it from a file beside the run folder, or in it
where none can be made beside it, and removes that at once: every user of a machine sees command lines, and every user
of a cluster what Ray is given. It has the spec's text, so the spec's file may change meanwhile, or be on a machine that
the driver can't read.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from sweeps.execution.run_options import RunOptions
from sweeps.runs.layout import BEGUN, REQUEST, REQUEST_INSIDE
from sweeps.spec import overrides, source
from sweeps.spec.problems import Problem, SpecError
from sweeps.spec.spec import Spec, from_source

STDIN = "-"  # as the source of a request
# Prefixes of the variables that a driver on another machine gets: the cache folders, and the accounts at W&B and the
# hubs. All others stay as they are there.
FORWARDED = ("PARETUNE_", "WANDB_", "HF_", "MODELSCOPE_")
# But for the keys of the servers on this machine, which no driver needs.
KEPT = frozenset({"PARETUNE_UI_KEY", "PARETUNE_API_KEY"})


class RunRequest(BaseModel):
    """One ``paretune run``.

    ``file`` names the spec in messages; relative paths in the spec are relative to its folder. ``text`` is the spec,
    ``sets`` its overrides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path
    text: str
    sets: tuple[str, ...]
    options: RunOptions
    command: tuple[str, ...]  # as it was typed
    environment: dict[str, str]
    token: str = Field(default_factory=lambda: secrets.token_hex(4))  # of this start of a driver

    @classmethod
    def from_command(cls, spec: Spec, options: RunOptions) -> RunRequest:
        """The request that this process was started with."""
        return cls(
            file=spec.source.file.absolute(),
            text=spec.source.text,
            sets=spec.source.overrides,
            options=options,
            command=tuple(sys.argv[1:]),
            environment=forwarded(os.environ),
        )

    def write(self, run: Path) -> Path:
        """Writes the request beside the run's folder, which people share, or in it; returns the file."""
        try:
            return self._write_to(run.parent / REQUEST.format(run.name, self.token))
        except OSError as error:
            # The folder of all runs may be somebody else's, and the name of a run may leave no room for more.
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG):
                raise
            return self._write_to(run / REQUEST_INSIDE.format(self.token))

    def _write_to(self, path: Path) -> Path:
        # For this user alone before anything is in it: it may hold keys.
        created = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        with open(created, "w", encoding="utf-8") as file:
            file.write(self.model_dump_json())
        return path

    @classmethod
    def take(cls, source: str) -> RunRequest:
        """The request that standard input has (``-``), or the file at a path, which is removed.

        Raises ``SpecError`` where there is none: a command that was killed meanwhile, or another driver that holds the
        run and has removed the file. Also for a file that can't be removed: it would keep its keys.
        """
        try:
            if source == STDIN:
                return cls.model_validate_json(sys.stdin.read())
            text = Path(source).read_text(encoding="utf-8")
            Path(source).unlink()
            return cls.model_validate_json(text)
        except PermissionError as error:
            reason = f"this driver can't take its request from {source}: {error.strerror}"
            what = f"{reason}. Remove that file, which may hold keys"
            raise SpecError(Problem("--detach", "", what)) from error
        except (OSError, ValueError) as error:
            what = "there is nothing to execute: the command that started this driver has ended, or another has the run"
            raise SpecError(Problem("--detach", "", what)) from error

    def announce(self, run: Path) -> None:
        """Tells the command that started this driver that it holds the run and has made its folder."""
        (run / BEGUN.format(self.token)).touch()

    def spec(self) -> Spec:
        """The spec as the command read it. Raises ``SpecError``."""
        return from_source(overrides.apply(source.parse(self.file, self.text), self.sets))

    def apply_to_process(self) -> None:
        """Gives this process the environment and the arguments of the command that was typed."""
        os.environ.update(self.environment)
        sys.argv[1:] = self.command


def forwarded(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment that a driver on another machine gets too."""
    return {
        name: value for name, value in environment.items() if name.startswith(FORWARDED) and name not in KEPT
    }
