"""Writes ``trainables/system/tested_versions.txt`` anew: the installed versions of the packages that the project names.

python -m tests.helpers.tested_versions
"""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.helpers.paths import ROOT
from trainables.system.tested_versions import FILE

UNTESTED = {"gcsfs", "swanlab", "trackio"}  # brought by extras that are not installed for tests


def requirements() -> Iterator[Requirement]:
    """What pyproject.toml asks for, for users and for tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for lines in (project["dependencies"], *project["optional-dependencies"].values()):
        yield from (each for each in map(Requirement, lines) if each.name != "paretune")


def tested_names() -> list[str]:
    """The packages that have a tested version."""
    return sorted({canonicalize_name(each.name) for each in requirements()} - UNTESTED)


def main() -> None:
    comments = [line for line in FILE.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    # Without the build: the same release is built for CPUs, and for each CUDA.
    versions = [f"{name}=={Version(importlib.metadata.version(name)).public}" for name in tested_names()]
    FILE.write_text("\n".join([*comments, *versions]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
