"""Code of a method of one's own: the Python files of a module beside the spec.

A module of one file is that file alone, one in a package all Python files of the package's folder. They are read once
and hashed; ``own_imports`` runs them as they were read, so that what runs is what the hash says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainables.storage import files

KIND = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")  # module:Class
MAX_FILES, MAX_BYTES = 1_000, 4 << 20  # of a package: more is no method's code
INIT = "__init__.py"


class OwnMethodError(ValueError):
    """A method of one's own that can't be used: which one, why, and what to do."""


def is_own_kind(kind: Any) -> bool:
    """Whether a method's ``kind`` names a class, as ``module:Class``, and is none of ours."""
    return isinstance(kind, str) and ":" in kind


def own_code_identity(method: Any) -> str:
    """The kind of a method of one's own, which names its module, and the hash of its code; empty for ours."""
    return f" {method.kind} {method.method_sha256 or 'installed'}" if is_own_kind(method.kind) else ""


def split_kind(kind: str) -> tuple[str, str]:
    """The module and the class of a kind. Raises :class:`OwnMethodError`."""
    found = KIND.fullmatch(kind)
    if found is None:
        raise OwnMethodError(
            f"{kind} names no class; write module:Class, as in my_package.my_method:MyMethod"
        )
    return found[1], found[2]


@dataclass(frozen=True)
class OwnCode:
    """The Python files of the module ``top``: ``path`` is its file, or the folder of the package.

    ``sources``: their contents by path, relative to the folder that ``path`` is in.
    """

    top: str
    path: Path
    sources: Mapping[str, bytes]

    @classmethod
    def beside(cls, module: str, folder: Path) -> OwnCode | None:
        """The code of a module in ``folder``; ``None`` where none is there, so that it must be installed.

        Raises :class:`OwnMethodError`.
        """
        top, _, inside = module.partition(".")
        package, file = folder / top, folder / f"{top}.py"
        try:
            if package.is_dir() and (inside or (package / INIT).is_file()):
                return cls.read(package)
            return cls.read(file) if file.is_file() and not inside else None
        except OSError as error:  # a name that no file can have
            raise OwnMethodError(f"{top} can't be looked for: {error.strerror or error}") from error

    @classmethod
    def read(cls, path: Path) -> OwnCode:
        """The code in a file or in the folder of a package. Raises :class:`OwnMethodError`."""
        try:
            found = _python_files(path) if path.is_dir() else [path]
            if sum(file.stat().st_size for file in found) > MAX_BYTES:
                raise OwnMethodError(f"{path} holds more than {MAX_BYTES >> 20} MiB of Python files")
            sources = {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in found}
        except OSError as error:
            raise OwnMethodError(f"{path} can't be read: {error.strerror or error}") from error
        if not sources:
            raise OwnMethodError(f"there are no Python files in {path}")
        return cls(path.name.removesuffix(".py"), path, sources)

    @cached_property
    def sha256(self) -> str:
        """A hash of the names and contents of its files, in hex."""
        return files.sha256({name: text.decode("latin-1") for name, text in self.sources.items()})

    @property
    def files(self) -> dict[str, Path]:
        """The files by their names within ``path``; the empty name is ``path`` itself, where it is one file."""
        if f"{self.top}.py" in self.sources:
            return {"": self.path}
        return {name.partition("/")[2]: self.path.parent / name for name in self.sources}


def _python_files(folder: Path) -> list[Path]:
    found = []
    for file in sorted(folder.rglob("*.py")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.is_file() and not hidden:
            found.append(file)
        if len(found) > MAX_FILES:
            raise OwnMethodError(f"{folder} holds more than {MAX_FILES:,} Python files")
    return found
