"""The folders that the UI shows and writes below, and paths that can't leave them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath


class OutsideRoot(ValueError):  # noqa: N818
    """A path that isn't below the folder it should be in; the message can be shown."""


def below(root: Path, relative: str) -> Path:
    """The path of ``relative`` below ``root``. Raises :class:`OutsideRoot`.

    Refused are absolute paths, ``..``, NUL and links that lead out of the root.

    >>> below(Path("/tmp"), "../etc/passwd")
    Traceback (most recent call last):
    ...
    sweeps.ui.roots.OutsideRoot: '../etc/passwd' is not a path below the folder
    """
    parts = PurePosixPath(relative.replace("\\", "/")).parts
    if (
        not parts
        or "\0" in relative
        or relative.startswith(("/", "\\", "~"))
        or ".." in parts
        or ":" in parts[0]
    ):
        raise OutsideRoot(f"{relative!r} is not a path below the folder")
    path = root.joinpath(*parts)
    if not is_below(root, path):
        raise OutsideRoot(f"{relative!r} is a link that leads out of the folder")
    return path


def is_below(root: Path, path: Path) -> bool:
    """Whether a path, with all links followed, is a root or below it."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, or halves of a pair of characters
        return False


@dataclass(frozen=True)
class Roots:
    """The folders whose files the UI may read, by the runs roots that are folders, the data folder and the cache."""

    folders: tuple[Path, ...]

    def contain(self, path: Path) -> bool:
        """Whether a path, with all links followed, lies below one of the folders."""
        return any(is_below(root, path) for root in self.folders)
