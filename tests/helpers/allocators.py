"""A stand-in for a GPU's allocator on a CPU: the same figures with the same meaning, of what a test allocates."""

from __future__ import annotations

from typing import Literal

import torch


class Allocator:
    """Counts as torch's CUDA allocator does.

    Freed blocks are kept until :meth:`empty`; a reset sets the peaks to what is allocated and held then. Beyond
    ``limit`` bytes there is no more memory.
    """

    source: Literal["cuda"] = "cuda"

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.allocated = self.held = self._peak = self._peak_held = 0

    def allocate(self, size: int) -> None:
        if self.limit is not None and self.allocated + size > self.limit:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size} bytes.")
        self.allocated += size
        self.held = max(self.held, self.allocated)
        self._peak, self._peak_held = max(self._peak, self.allocated), max(self._peak_held, self.held)

    def free(self, size: int) -> None:
        self.allocated -= size

    def empty(self) -> None:
        self.held = self.allocated

    def reset(self) -> None:
        self._peak, self._peak_held = self.allocated, self.held

    def now(self) -> int:
        return self.allocated

    def peak(self) -> int:
        return self._peak

    def reserved(self) -> int | None:
        return self._peak_held
