"""What a container or a job's control group may use of the machine: Docker, Kubernetes and Slurm limit it so.

The files are those of Linux's control groups, version 2 and 1 (``Documentation/admin-guide/cgroup-v2.rst``). A group is
bound by the limits of all groups above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cpu_limit(root: Path = ROOT, own: Path = OWN) -> float | None:
    """The number of cores that this process's group may use, as a share of time; ``None`` without a limit."""
    limits = []
    for folder in _groups(root, own, "cpu"):
        first = (*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us"))
        for found in (_numbers(folder / "cpu.max"), first):
            # A quota of -1 is none.
            if len(found) == 2 and min(found) > 0:
                limits.append(found[0] / found[1])
    return min(limits, default=None)


def free_memory_bytes(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The bytes that this process's group may still use, caches that can be given back included; ``None`` without a
    limit.
    """
    free = []
    for folder in _groups(root, own, "memory"):
        for limit, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limited, taken = _numbers(folder / limit), _numbers(folder / used)
            if limited and taken:
                free.append(int(limited[0] - taken[0] + _statistic(folder / "memory.stat", cache)))
    return max(0, min(free)) if free else None


def memory_limit_bytes(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The bytes that this process's group may use in all; ``None`` without a limit."""
    limits = [
        int(limited[0])
        for folder in _groups(root, own, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limited := _numbers(folder / name))
    ]
    return min(limits, default=None)


def _groups(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's group and of those above it, as far as they can be seen here."""
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root if not controllers else root / controller
        # In a container the path may be that outside of it: then the top folder is the container's own group.
        folder = top / path.lstrip("/")
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(top) and each.is_dir())


def _numbers(path: Path) -> tuple[float, ...]:
    """The numbers in a file; none for ``max``, which stands for no limit, and where there is no such file."""
    words = _text(path).split()
    try:
        return tuple(map(float, words))
    except ValueError:
        return ()


def _statistic(path: Path, name: str) -> float:
    found = (line.split() for line in _text(path).splitlines())
    return next((float(words[1]) for words in found if words[0] == name), 0.0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
