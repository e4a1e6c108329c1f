"""What a driver of its own is to carry out: left in the run folder by ``run --detach``, for that driver alone to read.

A file, because a command line is for every user of a machine to see, and what Ray is told is for every user of a
cluster; because it has the spec's text, the spec may change or be out of the driver's reach.
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

# Where models and tokens are kept, and who one is to W&B and the hubs; the rest is the driver's machine's own.
CARRIED = ("PARETUNE_", "WANDB_", "HF_", "MODELSCOPE_")


class Orders(BaseModel):
    """One ``paretune run``.

    ``file`` names the spec in messages; relative paths in it are relative to that file's folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path
    text: str
    sets: tuple[str, ...]
    options: RunOptions
    command: tuple[str, ...]  # as it was typed
    environment: dict[str, str]

    @classmethod
    def of(cls, spec: Spec, options: RunOptions) -> Orders:
        """The request that this process was started with."""
        written = spec.source
        return cls(
            file=written.file.absolute(),
            text=written.text,
            sets=written.overrides,
            options=options,
            command=tuple(sys.argv[1:]),
            environment=carried(os.environ),
        )

    def leave(self, run: Path) -> Path:
        """Writes them into the run's folder; returns the file. Whoever has begun with them takes it away."""
        run.mkdir(parents=True, exist_ok=True)
        path = run / f".orders-{secrets.token_hex(4)}.json"
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(self.model_dump_json(), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Orders:
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def spec(self) -> Spec:
        """Raises ``SpecError`` as reading it the first time would have."""
        return from_source(overrides.apply(source.parse(self.file, self.text), self.sets))

    def take_on(self) -> None:
        """Makes this process one that was started as the command was: its environment, and what it says it is."""
        os.environ.update(self.environment)
        sys.argv[1:] = self.command


def carried(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment goes along to a driver on another machine."""
    return {name: value for name, value in environment.items() if name.startswith(CARRIED)}
