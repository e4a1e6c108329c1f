"""A folder with a spec's files, and an empty run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.specs import spec_folder


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return spec_folder(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"
