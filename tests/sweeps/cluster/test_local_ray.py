"""How a Ray of a run's own is started, without starting one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from sweeps.cluster import local_ray
from sweeps.spec.problems import SpecError


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
        local_ray.start(tmp_path, {})
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) == 64


@pytest.mark.parametrize("answers", [True, False])
def test_a_busy_machine_has_minutes_to_start_rays_node(
    answers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def get_node(address: str) -> dict[str, str]:
        asked.append(address)
        if answers and len(asked) == 3:
            return {"node": "here"}
        raise RuntimeError("no such node")

    def init(**options: Any) -> None:
        node.append(ray._private.services.get_node("address"))

    node: list[Any] = []
    monkeypatch.setattr(ray._private.services, "get_node", get_node)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(local_ray, "START_SECONDS", 60.0 if answers else 0.0)
    if answers:
        local_ray.start(tmp_path, {})
        assert node == [{"node": "here"}]
    else:
        with pytest.raises(SpecError, match="did not start within 0 s"):
            local_ray.start(tmp_path, {})
    assert ray._private.services.get_node is get_node


def test_a_node_that_has_ended_is_not_waited_for_and_its_processes_are_ended_before_another_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's node ends itself where its agents are slow, and leaves the servers that were started before it."""
    started: list[Any] = []
    services = ray._private.services
    monkeypatch.setattr(services, "get_node", lambda *address: _not_registered())
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    node = tmp_path / "raylet"
    node.write_text("#!/bin/sh\nexit 1\n")
    node.chmod(0o700)

    def init(**options: Any) -> None:
        if started:
            assert all(process.poll() is not None for process in started)
            return
        started.extend(services.ConsolePopen([command, "60"]) for command in ("sleep", str(node)))
        services.get_node("address")

    monkeypatch.setattr(ray, "init", init)
    began = time.monotonic()
    local_ray.start(tmp_path, {})
    assert len(started) == 2
    assert time.monotonic() - began < 30


def _not_registered() -> None:
    raise RuntimeError("no such node")
