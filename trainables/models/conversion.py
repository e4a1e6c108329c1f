"""Conversion of GGUF files and pickled weights to folders of safetensors, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainables.models.folder import ModelError
from trainables.models.gguf_header import check_gguf


def convert_model(source: Path, folder: Path, unsafe: Sequence[str] = ()) -> None:
    """Writes the model of a GGUF file, or of a folder with pickled weights, as safetensors to ``folder``.

    ``unsafe``: what the spec trusts the model with. A process of its own keeps the caller's memory and log settings as
    they are. Raises ``ModelError``.
    """
    if source.is_file():
        check_gguf(source)
    command = [
        sys.executable,
        "-P",
        "-m",
        "trainables.models.conversion_process",
        str(source.resolve()),
        str(folder.resolve()),
        *unsafe,
    ]
    # Started in the folder above this package, so that a checkout works as an installation does.
    run_command(command, failure=f"{source.name} could not be converted", cwd=Path(__file__).parents[2])


def run_command(
    command: list[str], failure: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Runs a command; raises ``ModelError`` with ``failure`` and the end of its output if it fails."""
    # No input: a library that asks a question must fail instead of waiting for an answer.
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd, env=environment
    )
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-5:]
        raise ModelError(
            f"{failure}. Tried:\n  {' '.join(command)}\nIt exited with code {done.returncode}:\n  "
            + "\n  ".join(lines)
            + "\nNothing was kept. Check the network and try again, or set model.path to a folder."
        )
