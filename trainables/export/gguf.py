"""GGUF by llama.cpp's own converter, where that is on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from trainables.export.output_folder import ExportFailed
from trainables.models.folder import ModelError

# What the converter can write without a second program, and about how many bytes a weight then takes.
TYPES = {"f16": 2.0, "bf16": 2.0, "q8_0": 1.07}
SCRIPT = "convert_hf_to_gguf.py"
NEEDS = ("sentencepiece", "protobuf")  # its own list asks for another torch as well, which it does without
HOW = f"""--gguf needs llama.cpp's converter: {SCRIPT} is not in --llama-cpp DIR, in $LLAMA_CPP or on PATH. Get it:
  git clone --depth 1 https://github.com/ggml-org/llama.cpp
  pip install {" ".join(NEEDS)}
and give --llama-cpp llama.cpp"""


def find_converter(folder: Path | None) -> Path:
    """The converter's script: in ``folder``, in ``$LLAMA_CPP``, or on PATH. Raises ``ModelError`` that says the way."""
    named = folder or (Path(own) if (own := os.environ.get("LLAMA_CPP")) else None)
    if named is not None:
        named = named.expanduser().resolve()
        found = named if named.is_file() else named / SCRIPT
        if not found.is_file():
            raise ModelError(f"{named} has no {SCRIPT}.\n{HOW}")
        return found
    on_path = shutil.which(SCRIPT)
    if on_path is None:
        raise ModelError(HOW)
    return Path(on_path)


def file_name(kind: str) -> str:
    """What the file is called within an export."""
    return f"model-{kind}.gguf"


def convert(folder: Path, script: Path, kind: str) -> None:
    """Writes the model in ``folder`` as a GGUF file, too. Raises ``ExportFailed`` with the converter's last words."""
    into = folder / file_name(kind)
    command = [sys.executable, str(script), str(folder), "--outfile", str(into), "--outtype", kind]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0 or not into.is_file():
        lines = (done.stdout + done.stderr).strip().splitlines()[-5:]
        told = "\n  ".join(lines) or "it said nothing"
        if any(f"No module named '{each}'" in told for each in ("sentencepiece", "google")):
            told += f"\nIt needs: pip install {' '.join(NEEDS)}"
        raise ExportFailed(f"{script.name} ended with code {done.returncode} and nothing was kept:\n  {told}")
