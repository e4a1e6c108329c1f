"""Which files a path stands for: a file, the data files of a folder, what a pattern matches."""

from __future__ import annotations

import difflib
import glob
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from trainables.data import decompression
from trainables.data.decompression import PACKED
from trainables.data.errors import DataError

KNOWN = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".txt")
# What lies beside the data and ends as data does.
BESIDE = frozenset({"readme.txt", "license.txt", "licence.txt", "notice.txt"})
BESIDE |= {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}  # of Hugging Face
ARCHIVES = (".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def kind(path: Path | str) -> str | None:
    """``.jsonl`` for ``rows.jsonl`` and ``rows.jsonl.gz``; None for what can't be read."""
    suffix = _unpacked_name(Path(path)).suffix.lower()
    return suffix if suffix in KNOWN else None


def advice(path: Path) -> str:
    """What to give instead of a file that can't be read."""
    if Path(path).suffix.lower() in ARCHIVES:
        return "unpack it first and give the file or folder inside"
    return f"known: {', '.join(KNOWN)}, each also with {' or '.join(PACKED)}"


def files_of(path: Path) -> list[Path]:
    """The data files that ``path``, a file, a folder or a pattern such as ``data/*.jsonl``, stands for."""
    try:
        if path.is_dir():
            return _files_in(path)
        if path.exists():
            return [path]
        if glob.has_magic(str(path)):
            return _matches(path)
    except OSError as error:  # a name that is too long, a folder that may not be listed
        raise DataError(f"{path}: can't be read: {error.strerror}; check the path and its rights") from error
    raise DataError(f"{path}: {_missing(path)}")


def _files_in(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.iterdir() if file.is_file() and _is_data(file))
    kinds = sorted({kind(file) or "" for file in found})
    if not found:
        raise DataError(f"{folder}: no data files in this folder; {_elsewhere(folder)}")
    if len(kinds) > 1:
        raise DataError(
            f"{folder}: files of several kinds: {', '.join(kinds)}; give one of them, as {folder}/*{kinds[0]}"
        )
    return _once(found, str(folder))


def _matches(pattern: Path) -> list[Path]:
    names = glob.glob(str(pattern), recursive=True)
    found = sorted(file for file in map(Path, names) if file.is_file() and _is_data(file))
    if not found:
        others = f" (it matches {_some(names)})" if names else ""
        raise DataError(
            f"{pattern}: no data file matches{others}; check the pattern, and that names end in {', '.join(KNOWN)}"
        )
    return _once(found, str(pattern))


def _is_data(file: Path) -> bool:
    return not file.name.startswith(".") and file.name.lower() not in BESIDE and kind(file) is not None


def _once(found: list[Path], where: str) -> list[Path]:
    """Refuses a file that lies beside its packed copy: its rows would count twice."""
    counts = Counter(_unpacked_name(file) for file in found)
    twice = [str(name) for name, times in counts.items() if times > 1]
    if twice:
        raise DataError(f"{where}: {_some(twice)} is there both packed and unpacked; remove one")
    return found


def _elsewhere(folder: Path) -> str:
    # One level is enough for a hint, and quick in a home folder.
    inner = sorted(sub for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith("."))
    full = [sub for sub in inner if os.access(sub, os.R_OK | os.X_OK) and any(map(_is_data, sub.iterdir()))]
    if full:
        return f"there are some in {_some(map(str, full))}; give one of these"
    return f"put files there that end in {', '.join(KNOWN)}"


def _missing(path: Path) -> str:
    if path.is_symlink():
        return f"a link to {os.readlink(path)}, which is not there; mend the link"
    parent = next((folder for folder in path.parents if folder.is_dir()), Path("."))
    name = path.relative_to(parent).parts[0] if path.is_relative_to(parent) else path.name
    near = difflib.get_close_matches(name, [file.name for file in parent.iterdir()], n=1)
    if near:
        return f"no such file or folder; did you mean {parent / near[0]}?"
    return f"no such file or folder, and nothing like {name} in {parent}; check the path"


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = sorted(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _unpacked_name(path: Path) -> Path:
    return path.with_suffix("") if decompression.packing(path) else path
