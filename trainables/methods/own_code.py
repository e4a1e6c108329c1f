"""Code of a method of one's own: the Python files of a module beside the spec, and how they are imported.

A module of one file is that file alone, one in a package all Python files of the package's folder. They are read once,
hashed, and run as they were read, so that what runs is what the hash says; nothing else in the spec's folder can be
imported. Installed modules are imported as Python does it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

from trainables.storage import files

KIND = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")  # module:Class
MAX_FILES, MAX_BYTES = 1_000, 4 << 20  # of a package: more is no method's code
INIT = "__init__.py"
LOCK = RLock()


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


def import_module(module: str, code: OwnCode | None) -> ModuleType:
    """The module, of its ``code``, or as it is installed. Runs it. Raises :class:`OwnMethodError`."""
    where = f"in {code.path}" if code is not None else "which is installed"
    with LOCK:
        if code is not None:
            _activate(code)
        elif module.partition(".")[0] in _ACTIVE:
            _forget(module.partition(".")[0])
        importlib.invalidate_caches()
        try:
            with _without_others(code):
                return importlib.import_module(module)
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and _is_part(error.name, module):
                raise OwnMethodError(_missing(module, code)) from error
            what = f"{module}, {where}, can't be imported: {type(error).__name__}: {error}"
            raise OwnMethodError(f"{what}{_advice(error, code)}") from error


@contextmanager
def _without_others(code: OwnCode | None) -> Iterator[None]:
    """Hides other methods' code: a process that trains with this method needn't have it."""
    active = {top: each for top, each in _ACTIVE.items() if code is None or top != code.top}
    loaded = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in active}
    for top in active:
        del _ACTIVE[top]
    for name in loaded:
        del sys.modules[name]
    try:
        yield
    finally:
        _ACTIVE.update(active)
        sys.modules.update(loaded)


def _is_part(missing: str | None, module: str) -> bool:
    return missing is not None and f"{module}.".startswith(f"{missing}.")


def _missing(module: str, code: OwnCode | None) -> str:
    if code is not None:
        return f"there is no module {module} in {code.path}"
    top = module.partition(".")[0]
    return (
        f"there is no module {module} beside the spec ({top}.py, or the folder {top} with {INIT}), and none of that "
        "name is installed"
    )


def _advice(error: BaseException, code: OwnCode | None) -> str:
    """What to do where a module beside the code is missing, which doesn't travel with it."""
    top = (getattr(error, "name", None) or "").partition(".")[0]
    if code is None or not isinstance(error, ModuleNotFoundError) or not top:
        return ""
    if (code.path.parent / f"{top}.py").is_file() or (code.path.parent / top).is_dir():
        return (
            f". Only {code.path.name} belongs to the method: put {top} and the method into one package, a folder with "
            f"{INIT}"
        )
    return f". Install {top}, on all machines of the sweep"


def _activate(code: OwnCode) -> None:
    """Makes ``code`` what its module's name means in this process. Raises :class:`OwnMethodError`."""
    active = _ACTIVE.get(code.top)
    if active is not None and active.sha256 == code.sha256:
        return
    if active is None and (place := _installed_elsewhere(code)) is not None:
        raise OwnMethodError(
            f"{code.path} has the name of another module, {place}; rename {code.path.name}, and the kind with it"
        )
    _forget(code.top)
    _ACTIVE[code.top] = code
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def _forget(top: str) -> None:
    """Removes a module and all in it, so that the next import runs it again."""
    _ACTIVE.pop(top, None)
    for name in [name for name in sys.modules if name.partition(".")[0] == top]:
        del sys.modules[name]


def _installed_elsewhere(code: OwnCode) -> str | None:
    """Where an import without ``code`` would find its name; ``None`` where nowhere, or there as well."""
    if code.top in sys.modules:
        spec = getattr(sys.modules[code.top], "__spec__", None)
    else:
        spec = importlib.util.find_spec(code.top)
    if spec is None:
        return None if code.top not in sys.modules else code.top
    places = [spec.origin, *(spec.submodule_search_locations or ())]
    own = {code.path.resolve(), (code.path / INIT).resolve()}
    if any(place is not None and Path(place).resolve() in own for place in places):
        return None
    return next((place for place in places if place is not None), code.top)


class _Loader(importlib.machinery.SourceFileLoader):
    """Gives the contents that were read, and neither reads nor writes bytecode."""

    def __init__(self, name: str, path: str, contents: bytes) -> None:
        super().__init__(name, path)
        self._contents = contents

    def get_data(self, path: str) -> bytes:
        return self._contents

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError("its bytecode is not kept")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of active code, and no others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        code = _ACTIVE.get(fullname.partition(".")[0])
        if code is None:
            return None
        base, root = fullname.replace(".", "/"), code.path.parent
        for name, inside in ((f"{base}/{INIT}", [str(root / base)]), (f"{base}.py", None)):
            if name in code.sources:
                place = str(root / name)
                loader = _Loader(fullname, place, code.sources[name])
                return importlib.util.spec_from_file_location(
                    fullname, place, loader=loader, submodule_search_locations=inside
                )
        if any(name.startswith(f"{base}/") for name in code.sources):  # a folder without __init__.py
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(root / base)]
            return spec
        if path is None:
            return None
        raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


_ACTIVE: dict[str, OwnCode] = {}  # by the names of their modules
_FINDER = _Finder()
