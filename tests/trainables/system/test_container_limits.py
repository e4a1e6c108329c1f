"""Limits of containers: what the kernel's files of control groups say of processor and memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.system import container_limits, machine
from trainables.system.byte_sizes import GIB
from trainables.system.container_limits import cpu_limit, free_memory_bytes


def group(root: Path, path: str, **files: object) -> Path:
    """A control group with these files, whose names have underscores for dots."""
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")
    return folder


def own(root: Path, *lines: str) -> Path:
    path = root / "own"
    path.write_text("\n".join(lines))
    return path


def test_a_group_is_bound_by_the_limits_above_it(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(
        root, "pod", cpu_max="300000 100000", memory_max=8 * GIB, memory_current=3 * GIB, memory_stat="anon 1"
    )
    statistics = f"anon 5\ninactive_file {GIB}"
    group(
        root,
        "pod/job",
        cpu_max="max 100000",
        memory_max=4 * GIB,
        memory_current=2 * GIB,
        memory_stat=statistics,
    )
    where = own(tmp_path, "0::/pod/job")
    assert cpu_limit(root, where) == 3
    assert free_memory_bytes(root, where) == 3 * GIB  # 2, and a cache of 1 that can be given back


def test_groups_of_version_1_have_files_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(root, "cpu/job", cpu_cfs_quota_us=150_000, cpu_cfs_period_us=100_000)
    group(root, "cpu", cpu_cfs_quota_us=-1, cpu_cfs_period_us=100_000)
    statistics = f"total_inactive_file {GIB}"
    group(
        root,
        "memory/job",
        memory_limit_in_bytes=4 * GIB,
        memory_usage_in_bytes=3 * GIB,
        memory_stat=statistics,
    )
    where = own(tmp_path, "4:memory:/job", "1:cpu,cpuacct:/job", "0::/")
    assert cpu_limit(root, where) == 1.5
    assert free_memory_bytes(root, where) == 2 * GIB


def test_a_container_that_sees_its_own_group_as_the_top_is_limited_by_it(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(root, ".", cpu_max="200000 100000", memory_max=GIB, memory_current=2 * GIB)
    where = own(tmp_path, "0::/kubepods/outside/of/the/container")
    assert cpu_limit(root, where) == 2
    assert free_memory_bytes(root, where) == 0  # never less than nothing


def test_without_limits_or_files_there_is_no_limit(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(root, "job", cpu_max="max 100000", memory_max="max", memory_current=GIB)
    for where in (own(tmp_path, "0::/job"), own(tmp_path, ""), tmp_path / "nothing"):
        assert cpu_limit(root, where) is None
        assert free_memory_bytes(root, where) is None


@pytest.mark.parametrize(("limit", "cores"), [(1.9, 1), (0.5, 1), (2.0, 2), (64.0, 8), (None, 8)])
def test_cores_and_memory_are_no_more_than_the_container_may_use(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, cores: int
) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(container_limits, "cpu_limit", lambda: limit)
    assert machine.cpu_cores() == cores
    monkeypatch.setattr(container_limits, "free_memory_bytes", lambda: 5 * 2**20)
    assert machine.available_memory_bytes() == 5 * 2**20
