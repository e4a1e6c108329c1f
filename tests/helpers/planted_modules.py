"""Modules in a working folder that others are called by: no process of ours may import them."""

from __future__ import annotations

from pathlib import Path

NAMES = (
    "torch", "datasets", "pyarrow", "json", "ray", "numpy", "wandb", "transformers", "peft", "sweeps", "trainables",
    "reports",
)  # fmt: skip


def plant_modules(folder: Path, note: Path) -> Path:
    """Makes the folder with such modules, each of which notes that it was imported, and fails. Returns the folder."""
    folder.mkdir()
    text = f"""\
import sys
with open({str(note)!r}, "a") as file:
    print(__name__, sys.argv, file=file)
raise RuntimeError("planted")
"""
    for name in NAMES:
        (folder / f"{name}.py").write_text(text)
    return folder
