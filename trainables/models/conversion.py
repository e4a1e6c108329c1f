"""A packaged GGUF model as a folder of safetensors, converted in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trainables.models.folder import ModelError


def convert(source: Path, folder: Path, unsafe: Sequence[str] = ()) -> None:
    """Writes the model of a GGUF file, or of a folder with pickled weights, as safetensors to ``folder``.

    ``unsafe`` is what the spec trusts of it. In a process of its own: what loading leaves behind (memory, log settings)
    stays out of the caller's.
    """
    command = [
        sys.executable,
        "-m",
        "trainables.models.conversion_process",
        str(source.resolve()),
        str(folder.resolve()),
        *unsafe,
    ]
    # From where this package lies, so that it is found from a checkout as well.
    _run(command, what=f"{source.name} could not be converted", cwd=Path(__file__).parents[2])


def _run(command: list[str], what: str, cwd: Path | None = None) -> None:
    # Nobody is there to answer: what a library would ask, it is not told.
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-5:]
        raise ModelError(
            f"{what}. Tried:\n  {' '.join(command)}\nIt ended with code {done.returncode}:\n  "
            + "\n  ".join(lines)
            + "\nNothing was kept. Check the network and try again, or give model.path a folder."
        )
