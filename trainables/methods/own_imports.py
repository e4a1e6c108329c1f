"""How code of methods of one's own is imported: it runs as it was read, and nothing else in its folder can be imported.

Installed modules are imported as Python does it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

from trainables.methods.own_code import INIT, OwnCode, OwnMethodError

LOCK = RLock()


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
