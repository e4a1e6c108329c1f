"""GGUF files by llama.cpp's own converter, if that is on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from trainables.export.output_folder import ExportFailed
from trainables.models.folder import ModelError

# The types that the converter writes without a second program, and about how many bytes a weight then takes.
TYPES = {"f16": 2.0, "bf16": 2.0, "q8_0": 1.07}
SCRIPT = "convert_hf_to_gguf.py"
PACKAGES = ("sentencepiece", "protobuf")  # its own list has another torch too, which it doesn't need
INSTALL_HINT = f"""--gguf needs llama.cpp's converter: {SCRIPT} is not in --llama-cpp DIR, $LLAMA_CPP or PATH. Get it:
  git clone --depth 1 https://github.com/ggml-org/llama.cpp
  pip install {" ".join(PACKAGES)}
and give --llama-cpp llama.cpp"""


def find_converter(folder: Path | None) -> Path:
    """The converter's script: in ``folder``, in ``$LLAMA_CPP``, or on PATH.

    Raises ``ModelError`` that says how to install it.
    """
    given = folder or (Path(path) if (path := os.environ.get("LLAMA_CPP")) else None)
    if given is not None:
        given = given.expanduser().resolve()
        script = given if given.is_file() else given / SCRIPT
        if not script.is_file():
            raise ModelError(f"{given} has no {SCRIPT}.\n{INSTALL_HINT}")
        return script
    on_path = shutil.which(SCRIPT)
    if on_path is None:
        raise ModelError(INSTALL_HINT)
    return Path(on_path)


def file_name(kind: str) -> str:
    """The name of the GGUF file in the folder of an export."""
    return f"model-{kind}.gguf"


def convert(folder: Path, script: Path, kind: str) -> None:
    """Adds a GGUF file of the model in ``folder``. Raises ``ExportFailed`` with the converter's last output."""
    output = folder / file_name(kind)
    command = [sys.executable, str(script), str(folder), "--outfile", str(output), "--outtype", kind]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if process.returncode != 0 or not output.is_file():
        lines = (process.stdout + process.stderr).strip().splitlines()[-5:]
        message = "\n  ".join(lines) or "it printed nothing"
        # The package protobuf has the module google.
        if any(f"No module named '{module}'" in message for module in ("sentencepiece", "google")):
            message += f"\nIt needs: pip install {' '.join(PACKAGES)}"
        raise ExportFailed(
            f"{script.name} ended with code {process.returncode} and nothing was kept:\n  {message}"
        )
