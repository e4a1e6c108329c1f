"""What would make a GPU wait: operations that read a number of a tensor, counted on a CPU by the code that asked."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.gpu.checks.synchronisation import cause

# The first is what `item`, `tolist`, `bool` and `int` of a tensor call; the others find out how many numbers there are.
READING = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
}
INDEXING = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default}


class Reads(TorchDispatchMode):
    """Counts operations that read a tensor's numbers, an index that is a mask among them, while ``counts`` is true.

    ``causes``: how many by code, as ``trainables/training/policy.py:40``. A copy to another device isn't seen.
    """

    def __init__(self, counts: bool = True) -> None:
        super().__init__()
        self.counts = counts
        self.causes: Counter[str] = Counter()

    @property
    def count(self) -> int:
        return self.causes.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.counts and (func in READING or (func in INDEXING and _has_mask(args[1]))):
            self.causes[cause(sys._getframe(1))] += 1
        return func(*args, **(kwargs or {}))


def _has_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
