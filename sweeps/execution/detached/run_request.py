"""What a detached driver executes: written to the run folder by ``run --detach``, for that driver alone to read.

It is a file because every user of a machine sees command lines, and every user of a cluster what Ray is given. It has
the spec's text, so the spec's file may change meanwhile, or be on a machine that the driver can't read.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sweeps.execution.run_options import RunOptions
from sweeps.spec import overrides, source
from sweeps.spec.spec import Spec, from_source

# Prefixes of the variables that a driver on another machine gets: the cache folders, and the accounts at W&B and the
# hubs. All others stay as they are there.
FORWARDED = ("PARETUNE_", "WANDB_", "HF_", "MODELSCOPE_")


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
        """Writes the request to the run's folder; returns the file. The driver removes it once the sweep has begun."""
        run.mkdir(parents=True, exist_ok=True)
        path = run / f".orders-{secrets.token_hex(4)}.json"
        path.touch(mode=0o600, exist_ok=False)  # before anything is in it: it may hold keys
        path.write_text(self.model_dump_json(), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> RunRequest:
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def spec(self) -> Spec:
        """The spec as the command read it. Raises ``SpecError``."""
        return from_source(overrides.apply(source.parse(self.file, self.text), self.sets))

    def apply_to_process(self) -> None:
        """Gives this process the environment and the arguments of the command that was typed."""
        os.environ.update(self.environment)
        sys.argv[1:] = self.command


def forwarded(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment that a driver on another machine gets too."""
    return {name: value for name, value in environment.items() if name.startswith(FORWARDED)}
