"""Gauges of this process's memory, and the meter that reads one of them phase by phase.

On a GPU the peaks are those of torch's caching allocator. On a CPU they are the peak resident set: Linux keeps it per
process (``VmHWM``), and writing 5 to ``/proc/self/clear_refs`` resets it. How well that repeats depends on how much
freed memory malloc gives back, so it is measured in a process of its own, see ``measuring_process.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import torch

from trainables.system import machine
from trainables.training.policy import default_device

Source = Literal["cuda", "rss"]


class Gauge(Protocol):
    """What shows the memory in use and its peak since the last reset, in bytes."""

    @property
    def source(self) -> Source: ...

    def reset(self) -> None:
        """The peaks begin anew, at what is in use now."""

    def now(self) -> int: ...

    def peak(self) -> int: ...

    def reserved(self) -> int | None:
        """The most that was held since the last reset, free blocks included; ``None`` where that is not known."""


class ResidentSet:
    """The peak resident set of this process, in bytes."""

    source: Literal["rss"] = "rss"

    def reset(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")

    def now(self) -> int:
        return self._read("VmRSS")

    def peak(self) -> int:
        return self._read("VmHWM")

    def reserved(self) -> int | None:
        return None

    def _read(self, key: str) -> int:
        line = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert line is not None, f"no {key} in /proc/self/status"
        return int(line[1]) * 1024


class CudaAllocator:
    """What torch's CUDA allocator has allocated on this process's GPU, in bytes."""

    source: Literal["cuda"] = "cuda"

    def __init__(self) -> None:
        # The first product of a process allocates workspaces (cuBLAS), one for the thread of the backward pass, too.
        # They stay, so they belong to the baseline: a warm process gives the figures of a fresh one.
        for dtype in (torch.float32, torch.float16):
            ones = torch.ones(64, 64, device="cuda", dtype=dtype, requires_grad=True)
            (ones @ ones).sum().backward()

    def reset(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()

    def now(self) -> int:
        return torch.cuda.memory_allocated()

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated()

    def reserved(self) -> int | None:
        return torch.cuda.max_memory_reserved()


def gauge() -> Gauge | None:
    """The gauge of this process's memory; ``None`` if there is none, as with a read-only ``/proc/self/clear_refs``."""
    if default_device() == "cuda":
        return CudaAllocator()
    return ResidentSet() if machine.peak_memory().works else None


@dataclass
class Meter:
    """Peaks by phase, above ``baseline``: by default the memory in use when the meter was made. No peaks without a
    gauge.

    A phase may come several times, and then has its highest peak. One within another counts for itself alone.

    >>> meter = Meter()
    >>> with meter.phase("load"):
    ...     block = bytearray(50 * 2**20)
    >>> meter.peaks["load"] >= 50 * 2**20
    True
    """

    gauge: Gauge | None = field(default_factory=lambda: gauge())
    peaks: dict[str, int] = field(default_factory=dict)
    baseline: int | None = None
    reserved: int | None = None  # the most in any phase
    # Those that the process is in, the innermost last.
    _phases: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.gauge is not None and self.baseline is None:
            self.baseline = self.gauge.now()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures the peak while the block runs; it is kept also when the block fails."""
        if self.gauge is None:
            yield
            return
        self._read()
        self._phases.append(name)
        self.gauge.reset()
        try:
            yield
        finally:
            self._read()
            self._phases.pop()
            if self._phases:
                self.gauge.reset()

    def restart_phase(self) -> None:
        """Forgets what the innermost phase has seen so far: it begins with what is in memory now."""
        if self.gauge is not None:
            self.gauge.reset()

    def _read(self) -> None:
        """Adds what the gauge shows to the innermost phase."""
        if self.gauge is None or self.baseline is None or not self._phases:
            return
        name = self._phases[-1]
        self.peaks[name] = max(self.peaks.get(name, 0), self.gauge.peak() - self.baseline)
        if (reserved := self.gauge.reserved()) is not None:
            self.reserved = max(self.reserved or 0, reserved - self.baseline)
