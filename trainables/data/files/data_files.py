"""Finds the data files that a path stands for: a file, a folder, or a pattern."""

from __future__ import annotations

import difflib
import glob
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from trainables.data.errors import DataError
from trainables.data.files import decompression
from trainables.data.files.decompression import COMPRESSED_SUFFIXES

DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".txt")
# Files without rows that are often in a folder of data, with a suffix like data.
NOT_DATA = frozenset({"readme.txt", "license.txt", "licence.txt", "notice.txt"})
NOT_DATA |= {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}  # of Hugging Face
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
ARCHIVES = (".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def data_suffix(path: Path | str) -> str | None:
    """``.jsonl`` for ``rows.jsonl`` and ``rows.jsonl.gz``; ``None`` for files that can't be read."""
    suffix = _decompressed_name(Path(path)).suffix.lower()
    return suffix if suffix in DATA_SUFFIXES else None


def advice(path: Path) -> str:
    """What to do about a file that can't be read."""
    if Path(path).suffix.lower() in ARCHIVES:
        return "extract it and give the file or folder inside"
    sheet = "save the sheet as .csv, in UTF-8; " if Path(path).suffix.lower() in SPREADSHEETS else ""
    return f"{sheet}known: {', '.join(DATA_SUFFIXES)}, each also with {' or '.join(COMPRESSED_SUFFIXES)}"


def find_data_files(path: Path) -> list[Path]:
    """The data files of ``path``: a file, a folder, or a pattern such as ``data/*.jsonl``.

    Raises :class:`DataError` if there are none, files of several types, or a file beside its compressed copy.
    """
    try:
        if path.is_dir():
            return _files_in(path)
        # Before patterns, since a file's own name may contain brackets.
        if path.exists():
            return [path]
        if glob.has_magic(str(path)):
            return _matches(path)
    except OSError as error:  # a name that is too long, a folder that may not be listed
        raise DataError(
            f"{path}: can't be read: {error.strerror}; check the path and its permissions"
        ) from error
    raise DataError(f"{path}: {_missing(path)}")


def _files_in(folder: Path) -> list[Path]:
    paths = sorted(file for file in folder.iterdir() if file.is_file() and is_data(file))
    suffixes = sorted({data_suffix(file) or "" for file in paths})
    if not paths:
        raise DataError(f"{folder}: no data files in this folder; {_advice_for_empty(folder)}")
    if len(suffixes) > 1:
        raise DataError(
            f"{folder}: files of several types: {', '.join(suffixes)}; choose one, as in {folder}/*{suffixes[0]}"
        )
    return _without_copies(paths, str(folder))


def _matches(pattern: Path) -> list[Path]:
    names = glob.glob(str(pattern), recursive=True)
    paths = sorted(file for file in map(Path, names) if file.is_file() and is_data(file))
    if not paths:
        others = f" (it matches {first_names(names)})" if names else ""
        raise DataError(
            f"{pattern}: no data file matches{others}; check the pattern, "
            f"and that names end in {', '.join(DATA_SUFFIXES)}"
        )
    return _without_copies(paths, str(pattern))


def is_data(file: Path) -> bool:
    """Whether a file in a folder is read as rows, by its name."""
    return (
        not file.name.startswith(".") and file.name.lower() not in NOT_DATA and data_suffix(file) is not None
    )


def _without_copies(paths: list[Path], where: str) -> list[Path]:
    """Refuses a file beside its compressed copy, whose rows would count twice."""
    counts = Counter(_decompressed_name(file) for file in paths)
    twice = [str(name) for name, times in counts.items() if times > 1]
    if twice:
        raise DataError(f"{where}: {first_names(twice)} exists both compressed and uncompressed; remove one")
    return paths


def _advice_for_empty(folder: Path) -> str:
    # One level is enough for a hint, and quick in a home folder.
    subfolders = sorted(sub for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith("."))
    readable = [sub for sub in subfolders if os.access(sub, os.R_OK | os.X_OK)]
    with_data = [sub for sub in readable if any(map(is_data, sub.iterdir()))]
    if with_data:
        return f"there are some in {first_names(map(str, with_data))}; give one of these"
    return f"put files there that end in {', '.join(DATA_SUFFIXES)}"


def _missing(path: Path) -> str:
    if path.is_symlink():
        return f"a link to {os.readlink(path)}, which does not exist; correct the link"
    # The deepest folder that exists: the name directly below it is the one that is wrong.
    parent = next((folder for folder in path.parents if folder.is_dir()), Path("."))
    name = path.relative_to(parent).parts[0] if path.is_relative_to(parent) else path.name
    matches = difflib.get_close_matches(name, [file.name for file in parent.iterdir()], n=1)
    if matches:
        return f"no such file or folder; did you mean {parent / matches[0]}?"
    return f"no such file or folder, and no name like {name} in {parent}; check the path"


def first_names(names: Iterable[str], count: int = 3) -> str:
    """``a, b, c and 4 more``."""
    ordered = sorted(names)
    return ", ".join(ordered[:count]) + (f" and {len(ordered) - count} more" if len(ordered) > count else "")


def _decompressed_name(path: Path) -> Path:
    return path.with_suffix("") if decompression.compression(path) else path
