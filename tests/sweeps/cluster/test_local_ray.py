"""How a Ray of a run's own is started, without starting one."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from sweeps.cluster import local_ray
from sweeps.cluster.private_folder import RAY, private_folder
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


def _open_to_others(folder: Path) -> dict[str, int]:
    """The bits of the group and of others, by name, of what has any; a link has those of what it leads to."""
    found = [(path, path.lstat()) for path in folder.rglob("*")]
    bits = {str(path.relative_to(folder)): stat.S_IMODE(info.st_mode) & 0o077 for path, info in found
            if not stat.S_ISLNK(info.st_mode)}  # fmt: skip
    return {name: mode for name, mode in bits.items() if mode}


def test_what_ray_opens_to_everybody_is_closed_and_no_link_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.touch(0o644)

    def init(*, _temp_dir: str, **options: Any) -> None:
        sockets = Path(_temp_dir) / "session" / "sockets"
        sockets.mkdir(parents=True)
        (sockets / "raylet").touch()
        (sockets.parent / "latest").symlink_to(own)
        for path in (Path(_temp_dir), sockets.parent, sockets, sockets / "raylet"):
            path.chmod(0o777)

    monkeypatch.setattr(ray, "init", init)
    local_ray.start(tmp_path / "private", {})
    assert _open_to_others(tmp_path / "private" / RAY) == {}
    assert stat.S_IMODE(own.stat().st_mode) == 0o644


@pytest.mark.slow
@pytest.mark.sweep
def test_no_folder_or_socket_of_rays_is_open_to_the_group_or_to_others() -> None:
    """Its processes go on making files by the umask; each lies in a folder that nobody else may enter."""
    before = os.umask(0o022)
    try:
        with private_folder() as folder:
            local_ray.start(folder, {"num_cpus": 1})
            seen = [_open_to_others(folder / RAY)]
            ray.get([ray.remote(lambda: os.getpid()).remote() for _ in range(4)])
            seen.append(_open_to_others(folder / RAY))
            opened = {name for names in seen for name in names if not (folder / RAY / name).is_file()}
            sockets = [path for path in (folder / RAY).rglob("*") if path.is_socket()]
            ray.shutdown()
    finally:
        os.umask(before)
    assert sockets
    assert opened == set()


def test_a_folder_that_is_removed_meanwhile_stops_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:02}" for number in range(20)]
    for name in names:
        (tmp_path / name / "inner").mkdir(parents=True)
    chmod, removed = Path.chmod, list[str]()

    def removing(path: Path, mode: int) -> None:
        chmod(path, mode)
        if path.name == "inner" and not removed:  # as a process of Ray's does, before the scan gets there
            removed.extend(name for name in names if name != path.parent.name)
            for name in removed:
                shutil.rmtree(tmp_path / name)

    monkeypatch.setattr(Path, "chmod", removing)
    local_ray.close_to_others(tmp_path)
    assert removed
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")} == {0o700}
