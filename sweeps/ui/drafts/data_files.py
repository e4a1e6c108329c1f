"""Data that a form offers: files of the data folder, and the names in its ``dataset_info.json``, as they are now."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeps.ui.roots import below, is_below
from trainables.data import dataset_info
from trainables.data.errors import DataError
from trainables.data.files.data_files import data_suffix
from trainables.data.sources import EMBEDDED

MAX_FILES = 500
MAX_DEPTH = 4
SKIPPED = ("runs", "node_modules", "__pycache__")


def offered_data(folder: Path) -> dict[str, Any]:
    """Embedded data sets, those that a registry names, and data files, with what is wrong with a registry."""
    names, faults = list[str](), list[str]()
    for place in (folder, folder / "data"):
        try:
            names += dataset_info.read_registry(place)
        except DataError as error:
            faults.append(str(error))
    files = [str(path.relative_to(folder)) for path in _files(folder)]
    return {"embedded": list(EMBEDDED), "registered": names, "files": files, "faults": faults}


def new_data_file(folder: Path, name: str) -> Path:
    """The place of an upload in the data folder. Raises ``ValueError`` for a name that can't be one of new data."""
    if "/" in name or "\\" in name or name.startswith((".", "-")) or not name.isprintable():
        raise ValueError(f"{name!r} can't be the name of a file of data")
    path = below(folder, name)
    if data_suffix(path) is None:
        raise ValueError(f"{name} has no ending of a file of data, such as .jsonl, .json, .csv or .parquet")
    if path.exists() or path.is_symlink():
        raise ValueError(f"{name} is in the data folder already; rename the file that you upload")
    return path


def _files(folder: Path) -> Iterator[Path]:
    found = 0
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        # A run's folder has tables of its own, which are no data to train on.
        is_run = "environment.json" in names and "trials" in folders
        keep = [] if depth >= MAX_DEPTH or is_run else folders
        folders[:] = sorted(name for name in keep if not name.startswith(".") and name not in SKIPPED)
        for name in sorted(names) if not is_run else ():
            path = Path(place) / name
            if _is_data(path) and is_below(folder, path):
                yield path
                found += 1
                if found == MAX_FILES:
                    return


def _is_data(path: Path) -> bool:
    if path.name.startswith(".") or path.name == dataset_info.FILE:
        return False
    return data_suffix(path) is not None and path.is_file()
