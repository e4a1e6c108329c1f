"""Files that a draft names, which the UI reads and trains on only below its own folders."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sweeps.spec import shorthand
from sweeps.spec.key_path import KeyPath, format_path
from sweeps.spec.paths_from_here import DATA, FOLDERS, RESULTS, TEMPLATE
from sweeps.spec.source import Source
from sweeps.ui.roots import Roots
from trainables.data import dataset_info
from trainables.data.errors import DataError
from trainables.data.sources import EMBEDDED, is_hub
from trainables.storage.urls import is_url
from trainables.templates import SUFFIXES

MAX_FILES = 10_000  # of a folder or a pattern that are looked at for links
ADVICE = (
    "lies outside the folders of this UI. Start it with --data FOLDER, or move the file into the data folder"
)


def outside_problems(written: Source, folder: Path, roots: Roots) -> list[dict[str, Any]]:
    """A problem, as of ``paretune plan --json``, for each path of a spec that leads out of the UI's folders.

    ``folder``: the data folder, from which relative paths start. Links are followed.
    """
    tree = shorthand.expanded(written).tree
    found = []
    for path, value in texts_of(tree, ()):
        for named in _named_files(value, path, folder, tree):
            if not _contained(named, roots):
                found.append(_problem(written, path, f"{value} {ADVICE}"))
                break
    return found


def _problem(written: Source, path: KeyPath, what: str) -> dict[str, Any]:
    line = written.line_of(path)
    return {
        "where": f"{written.file}:{line}",
        "line": line,
        "column": None,
        "path": format_path(path),
        "severity": "error",
        "message": what,
        "fix": None,
    }


def texts_of(node: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """All texts of a spec with their paths."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from texts_of(value, (*path, str(key)))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from texts_of(value, (*path, index))
    elif isinstance(node, str):
        yield path, node


def _named_files(value: str, path: KeyPath, folder: Path, tree: dict[str, Any]) -> Iterator[Path]:
    """The files that the setting at ``path`` may mean."""
    names = tuple(key for key in path if isinstance(key, str) and key not in ("compare", "choice"))
    if is_url(value) or is_hub(value) or value in EMBEDDED or not value:
        return
    if names[-2:] in DATA:
        yield from _data_files(value, folder, _registry_folders(tree, folder))
    elif (
        names[-2:] in FOLDERS
        or (names[-2:] == TEMPLATE and value.endswith(SUFFIXES))
        or (names and names[-1] in RESULTS and "/" in value)
    ):
        yield _absolute(value, folder)
    elif names[-2:] == ("data", "quality") and ":" in value:
        yield folder / f"{value.partition(':')[0].replace('.', '/')}.py"


def _registry_folders(tree: dict[str, Any], folder: Path) -> list[Path]:
    """Where data sets are looked for by name: beside the spec and in its ``data``, or in ``data.folder``."""
    data = tree.get("data")
    written = data.get("folder") if isinstance(data, dict) else None
    return [_absolute(written, folder)] if isinstance(written, str) else [folder, folder / "data"]


def _data_files(value: str, folder: Path, folders: list[Path]) -> Iterator[Path]:
    for place in folders:
        yield from _with_contents(_absolute(value, place))
        yield from _registered(value, place)


def _registered(name: str, folder: Path) -> Iterator[Path]:
    """The files of a data set by a folder's ``dataset_info.json``."""
    registry = folder / dataset_info.FILE
    if not registry.exists():
        return
    yield registry
    try:
        entry = dataset_info.find_entry(folder, name)
    except DataError:  # planning reports it
        return
    if entry is not None and entry.file_name:
        yield from _with_contents(folder / entry.file_name)


def _with_contents(path: Path) -> Iterator[Path]:
    """A path; of a folder or a pattern also what is in it, as links there may lead anywhere."""
    if glob.has_magic(str(path)):
        yield Path(*_before_magic(path))
        yield from map(Path, islice(glob.iglob(str(path), recursive=True), MAX_FILES))
        return
    yield path
    if path.is_dir():
        yield from (each for each in islice(path.rglob("*"), MAX_FILES) if each.is_symlink())


def _before_magic(path: Path) -> Iterator[str]:
    for part in path.parts:
        if glob.has_magic(part):
            return
        yield part


def _absolute(value: str, folder: Path) -> Path:
    try:
        return folder / Path(value).expanduser()
    except RuntimeError:  # ~somebody without a home
        return folder / value


def _contained(path: Path, roots: Roots) -> bool:
    try:
        return roots.contain(path)
    except (OSError, ValueError):  # a text that no file can be called: planning says so
        return True
