"""Paths in a value of ``--set``, which are relative to the working folder and not to the folder of the spec."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeps.spec.key_path import KeyPath
from trainables.data.files.data_files import data_suffix
from trainables.data.sources import EMBEDDED, is_hub
from trainables.storage.urls import is_url
from trainables.templates import SUFFIXES

# By the last two keys of a setting's path. A key of an entry (stages[0].model.path) ends in the same two.
FOLDERS = (("model", "path"), ("data", "folder"), ("search", "from"))
DATA = (("data", "train"), ("data", "eval"))
EVALUATION_SETS = ("data", "eval")
TEMPLATE = ("data", "template")
RESULTS = ("from", "reward")  # the last key


def from_here(value: Any, path: KeyPath, here: Path) -> Any:
    """The value of the setting at ``path`` with its paths made absolute from ``here``, the working folder.

    >>> from_here("rows.jsonl", ("data", "train"), Path("/home/ada"))
    '/home/ada/rows.jsonl'
    >>> from_here("commands", ("data", "train"), Path("/home/ada"))
    'commands'
    """
    if isinstance(value, dict):
        # A comparison or a domain holds values of the setting itself.
        return {
            key: from_here(item, path if key in ("compare", "choice") else (*path, str(key)), here)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [from_here(item, path, here) for item in value]
    if isinstance(value, str) and _is_relative_path(value, path, here):
        return str(here / value)
    return value


def _is_relative_path(value: str, path: KeyPath, here: Path) -> bool:
    if not value or value.startswith(("/", "~")) or is_url(value):
        return False
    names = tuple(_names(path))[-2:]
    if names in FOLDERS:
        return True
    if names == TEMPLATE:
        return value.endswith(SUFFIXES)
    # An evaluation set has a name of its own: data.eval.general.
    if names in DATA or tuple(_names(path))[-3:-1] == EVALUATION_SETS:
        return _is_file_of_data(value, here)
    # The name of a stage or a cell has no slash.
    return bool(names) and names[-1] in RESULTS and "/" in value


def _is_file_of_data(value: str, here: Path) -> bool:
    """Whether the name of a data set is a path. A name without a data file's ending may be one of a registry."""
    if value in EMBEDDED or is_hub(value):
        return False
    return data_suffix(value) is not None or glob.has_magic(value) or _exists(here / value)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a text that no file can be called
        return False


def _names(path: KeyPath) -> Iterator[str]:
    return (key for key in path if isinstance(key, str))
