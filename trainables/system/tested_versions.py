"""The versions of packages that Paretune is tested with, which ``make install`` installs. ``pyproject.toml`` has the
ranges that work, so that an image keeps its own torch.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("tested_versions.txt")


@cache
def versions() -> dict[str, str]:
    """The tested version of each package, by its name as the index writes it: ``{"torch": "2.13.0", ...}``."""
    lines = (line.partition("#")[0].strip() for line in FILE.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==") for line in lines if line)


def other_tested_version(name: str, version: str) -> str | None:
    """The tested version of a package where ``version`` is another; ``None`` where it is that one, or none is known.

    >>> other_tested_version("torch", "2.13.0+cu130")
    """
    from packaging.utils import canonicalize_name
    from packaging.version import Version

    tested = versions().get(canonicalize_name(name))
    # What follows a plus is how a release was built: for which CUDA, or for CPUs.
    same = tested is None or Version(version).public == Version(tested).public
    return None if same else tested


def installed_otherwise(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Of the packages of these names, those that are installed in another version: the tested and the installed one."""
    found = {}
    for name in names:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if (tested := other_tested_version(name, version)) is not None:
            found[name] = (tested, version)
    return found
