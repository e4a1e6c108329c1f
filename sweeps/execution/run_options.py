"""Where and how a sweep runs: the options of ``paretune run`` that its driver needs too."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunOptions:
    """``output``: the path or URL in which the run folder lies; ``address``: a Ray cluster, ``None`` for this machine.

    ``resume``: continue a run that was interrupted; ``force``: start trials that are predicted not to fit in memory.
    """

    output: str
    address: str | None = None
    resume: bool = False
    force: bool = False

    def resume_command(self, spec: Path, overrides: Sequence[str] = ()) -> str:
        """The shell command that resumes the run of a spec file.

        >>> RunOptions("runs").resume_command(Path("my.yaml"), ["train.steps=2"])
        'paretune run my.yaml --output runs --set train.steps=2 --resume'
        """
        location = ["--output", self.output, *(["--address", self.address] if self.address else [])]
        sets = [word for override in overrides for word in ("--set", override)]
        force = ["--force"] if self.force else []
        return shlex.join(["paretune", "run", str(spec), *location, *sets, *force, "--resume"])
