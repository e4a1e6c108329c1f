"""Files of weights that are mapped into a process stay in memory while it is measured."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from trainables.memory.gauges import ResidentSet
from trainables.memory.mapped_files import keep_in_memory, mapped_ranges

PAGEOUT = 21  # madvise: drop these pages, as the system does under pressure
MIB = 2**20


def drop(suffix: str) -> None:
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, size in mapped_ranges(suffix):
        advise(start, size, PAGEOUT)


def copied_bytes(suffix: str) -> int:
    """How much of mapped files whose names end so this process has as copies of its own."""
    starts = {f"{start:x}" for start, _ in mapped_ranges(suffix)}
    found, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *others = line.split()
        if "-" in first and not first.endswith(":"):
            counts = first.split("-")[0] in starts
        elif counts and first == "Anonymous:":
            found += int(others[0]) * 1024
    return found


@pytest.mark.parametrize("kept", [False, True])
def test_pages_that_are_kept_are_not_dropped(tmp_path: Path, kept: bool) -> None:
    file = tmp_path / "weights-of-this-test.safetensors"
    save_file({"weight": torch.ones(16 * MIB, dtype=torch.float32)}, file)
    weights, gauge = load_file(file), ResidentSet()
    total = float(weights["weight"][::1024].sum())  # reads every page
    assert total == 16 * 1024
    if kept and keep_in_memory(file.name) < 64 * MIB:
        pytest.skip("the system doesn't allow to lock memory")
    assert copied_bytes(file.name) < MIB
    before = gauge.now()
    drop(file.name)
    lost = before - gauge.now()
    if not kept and lost < 32 * MIB:
        pytest.skip("the system doesn't drop pages when it is asked to")
    assert (lost < 4 * MIB) == kept
    del weights
    assert not list(mapped_ranges(file.name))


def test_more_than_half_of_the_free_memory_is_not_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.system import machine

    file = tmp_path / "weights-of-this-test.safetensors"
    save_file({"weight": torch.ones(MIB, dtype=torch.float32)}, file)
    weights = load_file(file)
    assert list(mapped_ranges(file.name))
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 7 * MIB)
    assert keep_in_memory(file.name) == 0
    del weights
