"""Paths that people type: below the data folder or the folders of runs, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

from sweeps.ui.context import Ui
from sweeps.ui.roots import OutsideRoot, below, is_below
from trainables.storage.urls import is_url
from trainables.templates import SUFFIXES

NAME_OF_TEMPLATE = re.compile(r"\w[\w.-]*")
NAME = re.compile(r"[a-z]+:[^\s]+")  # a data set of a hub: hf:datasets/ORG/NAME


def folder_to_write(ui: Ui, text: str) -> Path:
    """The folder for a command's output, which need not exist yet. Raises ``OutsideRoot``."""
    path = _path(ui, text)
    roots = _writable_roots(ui)
    if not any(is_below(root, path) and path.resolve() != root.resolve() for root in roots):
        listed = ", ".join(map(str, roots))
        raise OutsideRoot(f"{text!r} is not a new folder below {listed}")
    return path


def folder_to_read(ui: Ui, text: str) -> Path:
    """A folder or file below the data folder or the folders of runs. Raises ``OutsideRoot``."""
    path = _path(ui, text)
    if not any(is_below(root, path) for root in _writable_roots(ui)):
        raise OutsideRoot(f"{text!r} is not below {ui.settings.data_folder}")
    return path


def data_source(ui: Ui, text: str) -> str:
    """Data as commands take them: a path below the data folder, or a name, of a shipped data set or one of a hub.

    Commands run in the data folder, so relative paths are its own. Raises ``OutsideRoot``.
    """
    if NAME.fullmatch(text) and "://" not in text:
        return text
    if text.startswith("-"):
        raise OutsideRoot(f"{text!r} begins with a dash; for a file of that name, put ./ before it")
    folder = text
    # Of a pattern such as data/*.jsonl, the part before its first wildcard.
    if match := re.search(r"[*?\[]", text):
        folder = text[: match.start()].rpartition("/")[0] or "."
    if folder != ".":
        folder_to_read(ui, folder)
    return text


def template_source(ui: Ui, text: str) -> str:
    """A chat template as commands take it: a file below the data folder or the folders of runs, or a template's name.
    Raises ``OutsideRoot``.
    """
    text = text.strip()
    if NAME_OF_TEMPLATE.fullmatch(text) and not text.endswith(SUFFIXES):
        return text
    return str(folder_to_read(ui, text))


def _path(ui: Ui, text: str) -> Path:
    text = text.strip()
    if "\0" in text or text.startswith("~") or is_url(text):
        raise OutsideRoot(f"{text!r} is not a path below {ui.settings.data_folder}")
    if text.startswith("/"):
        if ".." in Path(text).parts:
            raise OutsideRoot(f"{text!r} is not a path below {ui.settings.data_folder}")
        return Path(text)
    return below(ui.settings.data_folder, text.removeprefix("./"))


def _writable_roots(ui: Ui) -> list[Path]:
    runs = [Path(root) for root in ui.settings.runs if not is_url(root)]
    return [ui.settings.data_folder, *runs]
