"""The tiny model with two layers instead of four, for packages whose tests run many trials: a third less time for each.

A ``conftest.py`` imports both fixtures.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.tiny_model import make_model
from tests.helpers.trials import METHODS


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("shallow") / "tiny", layers=2)


@pytest.fixture(autouse=True)
def one_frozen_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two layers one trains where all but some are frozen."""
    monkeypatch.setitem(METHODS, "freeze", {"kind": "freeze", "layers": 1})
