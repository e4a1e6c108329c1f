"""How a Ray of a run's own is started, without starting one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import ray

from sweeps.cluster import session


def test_a_ray_that_is_started_after_another_one_has_the_same_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray keeps the first token that it has read: with another one, a sweep couldn't go on after a full disk."""
    tokens: list[str] = []
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-another-cluster")

    def init(**options: Any) -> None:
        tokens.append(os.environ["RAY_AUTH_TOKEN"])

    monkeypatch.setattr(ray, "init", init)
    for _ in range(2):
        session._start(tmp_path, {})
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) == 64
