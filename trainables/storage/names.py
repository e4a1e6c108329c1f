"""Names of files that somebody else gives: a store, a record, the index of a run. They must stay within a folder."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath


class UnsafeName(ValueError):  # noqa: N818
    """A name that could mean a file outside of the folder it is given for."""


def is_safe(name: str) -> bool:
    """Whether a name is a plain relative path: without an empty part, ``.``, ``..``, a root, a drive or a NUL.

    >>> [is_safe(name) for name in ("model/config.json", "model/../../x", "/etc/passwd", "a//b", "")]
    [True, False, False, False, False]
    """
    windows = PureWindowsPath(name)  # takes both kinds of slashes for one
    parts = name.replace("\\", "/").split("/")
    return "\0" not in name and not windows.drive and not any(part in ("", ".", "..") for part in parts)


def checked_name(name: str) -> str:
    """The name itself. Raises :class:`UnsafeName` unless it is safe."""
    if not is_safe(name):
        raise UnsafeName(f"{name!r} is no name of a file within a folder: it could lead out of the folder")
    return name


def checked_part(name: str) -> str:
    """The name itself. Raises :class:`UnsafeName` unless it is safe, and has no slash of either kind: ids of trials and
    names of cells are each one part of a path.
    """
    if not is_safe(name) or "/" in name or "\\" in name:
        raise UnsafeName(f"{name!r} is no name of a file within a folder: it could lead out of the folder")
    return name


def within(folder: Path, name: str) -> Path:
    """The path of a file in ``folder`` by a name that somebody else gave. Raises :class:`UnsafeName`."""
    return folder / checked_name(name)


def leads_out(name: str) -> bool:
    """Whether a path that people write, and that should stay within a folder, leads out of it: it is absolute, or goes
    up by ``..``. Unlike a name that a program gave, it may have parts like ``.``.

    >>> leads_out("./parts/a.json"), leads_out("parts/../../a.json"), leads_out("/etc/passwd")
    (False, True, True)
    """
    return "\0" in name or os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == ".."
