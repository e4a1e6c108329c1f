"""What tests of evaluations share: a run to evaluate, and a folder to do it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.small_runs import make_run


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run of full and lora and their base, on 48 rows of a file of which 7 are the test part."""
    return make_run(tmp_path_factory.mktemp("methods"), tiny_model, (None, "full", "lora"))
