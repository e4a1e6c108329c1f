"""The bytes of all tensors that are alive while a block of code runs on fake tensors, and their highest sum."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class LiveBytes(TorchDispatchMode):
    """``live``: bytes of all storages that operations within the block have made and that still exist.

    ``peak``: the largest ``live`` since :meth:`restart_peak`. ``names``: of the operations that have run. Enter it
    inside of a ``FakeTensorMode``: operations whose results depend on contents get a plausible one here.
    ``flags_choose_all``: flags that index are taken to choose all that they are of. Without it such an index can't be
    traced, as the flags of experts, for instance, choose a part.
    """

    def __init__(self, held: Iterable[Tensor] = (), flags_choose_all: bool = False) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.names: list[str] = []
        self._sizes: dict[int, int] = {}
        self._results = {**RESULTS, aten.index.Tensor: _indexed} if flags_choose_all else RESULTS
        self._experts = 1  # that were asked for last
        self._untrue: set[int] = set()  # ids of storages of flags of which none is true
        for tensor in held:
            self._add(tensor)

    def restart_peak(self) -> None:
        self.peak = self.live

    def _add(self, tensor: Tensor) -> None:
        if tensor.layout == torch.sparse_coo:
            self._add(tensor._indices())
            self._add(tensor._values())
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.live -= self._sizes.pop(key)
        self._untrue.discard(key)

    def _is_untrue(self, flags: Tensor) -> bool:
        """Whether no value is what it was asked for: all values are taken to be finite numbers."""
        return flags.untyped_storage()._cdata in self._untrue

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        known = self._places if func is aten.nonzero.default else self._results.get(func, func)
        result = known(*args, **(kwargs or {}))
        if func in ODD_VALUES or (func is aten.any.default and self._is_untrue(args[0])):
            self._untrue.add(result.untyped_storage()._cdata)
        if func is aten._local_scalar_dense.default and self._is_untrue(args[0]):
            return False
        for value in pytree.tree_leaves(result):
            if isinstance(value, Tensor):
                self._add(value)
        return result

    def _places(self, flags: Tensor) -> Tensor:
        """The places of what is true: (places, dimensions).

        Loops over experts first ask which of them got a token, (experts,), and then for each which ones: all experts
        got some, and each its share.
        """
        if flags.dim() == 1:
            self._experts = max(1, flags.numel())
            return flags.new_zeros((flags.numel(), 1), dtype=torch.long)
        return flags.new_zeros((-(-flags.numel() // self._experts), flags.dim()), dtype=torch.long)


def _grouped_product(left: Tensor, right: Tensor, *args: Any, **options: Any) -> Tensor:
    """What ``torch._grouped_mm`` gives on a CPU; its own rule for fake tensors knows only 16 bits."""
    if left.dim() == right.dim() == 2:  # the weights' gradient: one product for each group
        offsets: Tensor = options["offs"] if "offs" in options else args[0]
        return left.new_empty((offsets.shape[0], left.shape[0], right.shape[1]))
    return left.new_empty((*left.shape[:-1], right.shape[-1]))


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    """The values (rows, columns) at the places of a sparse ``mask``, of the same shape, as the mask has them."""
    places = mask._indices()
    return torch.sparse_coo_tensor(
        places, values.new_empty(places.shape[1]), mask.shape, check_invariants=False
    )


def _indexed(values: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """The values at the ``indices``; flags among these are taken to choose all that they are of."""
    places = [
        index.long() if index is not None and index.dtype == torch.bool and index.dim() == 1 else index
        for index in indices
    ]
    chosen: Tensor = aten.index.Tensor(values, places)
    return chosen


def _number(tensor: Tensor) -> bool | int | float:
    """The contents of a tensor of one number."""
    return True if tensor.dtype == torch.bool else 1.0 if tensor.dtype.is_floating_point else 1


# What asks whether values are no finite numbers.
ODD_VALUES = {aten.isinf.default, aten.isnan.default}
# Operations that can't run on fake tensors, and what stands for them.
RESULTS: dict[Any, Callable[..., Any]] = {
    aten._grouped_mm.default: _grouped_product,
    aten._local_scalar_dense.default: _number,
    aten.sparse_mask.default: _masked,
}
