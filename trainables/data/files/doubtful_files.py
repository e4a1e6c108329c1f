"""Which files of a path a user may think are read, or held out, and are not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from trainables.data.files.data_files import ARCHIVES, SPREADSHEETS, data_suffix, first_names, is_data
from trainables.system.wording import counted

MAX_FOLDERS = 1000  # looked through for files that are not read
# Names of the files that libraries write for held-out rows.
HELD_OUT = re.compile(r"(^|[^a-z])(test|valid|validation|val|dev|eval|evaluation)([^a-z]|$)")


def file_warnings(path: Path, paths: Sequence[Path], training: bool) -> Iterator[str]:
    """Sentences on a folder's or a pattern's files that are not read, and on those that are held-out rows by name.

    ``paths``: the data files of the path. ``training``: they are trained on.
    """
    if path.is_dir():
        yield from _unread(path)
    held_out = [file.name for file in paths if HELD_OUT.search(file.name.lower())] if training else []
    if 0 < len(held_out) < len(paths):
        yield (
            f"{path.name}: {first_names(held_out)} may be held-out rows, by name, and would be trained on; name the "
            "files to train on in data.train, and these in data.eval"
        )


def _unread(folder: Path) -> Iterator[str]:
    below: list[str] = []
    hidden: list[str] = []
    others: list[str] = []
    for place, folders, names in islice(os.walk(folder), MAX_FOLDERS):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(place, name) for name in names):
            if Path(place) != folder:
                below += [str(file.relative_to(folder))] if is_data(file) else []
            elif file.name.startswith("."):
                hidden += [file.name] if data_suffix(file) else []
            elif not is_data(file) and _may_hold_rows(file):
                others.append(file.name)
    if below:
        yield (
            f"{folder.name}: {counted(len(below), 'data file')} in subfolders not read ({first_names(below)}); "
            f"{folder.name}/**/* reads them, too"
        )
    if hidden:
        yield f"{folder.name}: {counted(len(hidden), 'hidden file')} not read ({first_names(hidden)})"
    if others:
        yield f"{folder.name}: {counted(len(others), 'file')} of another type not read ({first_names(others)})"


def _may_hold_rows(file: Path) -> bool:
    return file.suffix.lower() in (*SPREADSHEETS, *ARCHIVES) or data_suffix(file.with_suffix("")) is not None
