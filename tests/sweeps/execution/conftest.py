"""What tests of whole sweeps share: folders for a sweep of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.sweep_runs import Sweep
from tests.helpers.sweeps import SPEC, Home, write_spec


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="pt", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, temporary: Path) -> Iterator[Any]:
    """Makes a sweep's folders; ``new(text)`` for a spec of its own."""

    made: list[Sweep] = []

    def make(text: str = SPEC, rows: list[dict[str, str]] | None = None) -> Sweep:
        folder = tmp_path_factory.mktemp("sweep")
        spec = write_spec(folder / "given", tiny_model, text, rows)
        mine = Path(tempfile.mkdtemp(dir=temporary))
        made.append(Sweep(Home(folder, mine), spec, folder / "runs" / "tiny"))
        return made[-1]

    yield make
    for command in (command for sweep in made for command in sweep.commands):
        command.end()
