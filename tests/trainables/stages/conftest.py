"""Trials of a model with two layers, and a reward that it can earn."""

from __future__ import annotations

import pytest

from tests.helpers.shallow_model import one_frozen_layer, tiny_model  # noqa: F401
from tests.helpers.trials import LETTER
from trainables.stages.rewards.rules import RULES


@pytest.fixture
def letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds the rule of that name."""
    monkeypatch.setitem(RULES, "letter", LETTER)
