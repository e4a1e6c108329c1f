"""A Python that lacks packages which are installed, as an image without them does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.helpers.paths import ROOT

# Python imports it before all else. Finders of other kinds are left alone: these packages come from none.
START = """\
import importlib.metadata as metadata
from importlib.machinery import PathFinder

HIDDEN = frozenset({names!r})
find_spec, from_name = PathFinder.find_spec, metadata.Distribution.from_name


def spec_of_what_is_shown(fullname, path=None, target=None):
    return None if fullname.partition(".")[0] in HIDDEN else find_spec(fullname, path, target)


def distribution_of_what_is_shown(name):
    if name.lower() in HIDDEN:
        raise metadata.PackageNotFoundError(name)
    return from_name(name)


PathFinder.find_spec = staticmethod(spec_of_what_is_shown)
metadata.Distribution.from_name = staticmethod(distribution_of_what_is_shown)
"""


def without_packages(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Environment variables with which Python finds none of the packages; ``folder`` is made for it."""
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(START.format(names=sorted(names)), encoding="utf-8")
    return {"PYTHONPATH": f"{folder}:{ROOT}"}
