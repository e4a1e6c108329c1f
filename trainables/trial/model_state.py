"""The state of a loaded model, by which a trial's changes to it are undone, and by which its weights are checked.

A trial changes a model in many places, and each library in others: adapters take the places of layers, hooks are added,
``forward`` is replaced, flags and settings change, quantized layers keep what they computed. So nothing is undone by
name: all that the model's objects hold is put back.

>>> state = ModelState(model)  # doctest: +SKIP
>>> policy = get_peft_model(model, config)  # doctest: +SKIP
>>> state.restore()  # doctest: +SKIP
>>> state.is_unchanged()  # doctest: +SKIP
True
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

CONTAINERS = (dict, list, set, deque)  # that can change


class ModelState:
    """What a model's modules, settings and containers held, and its tensors' contents, when this was made.

    Tensors are referred to, and not copied: where a trial puts another tensor in the place of a weight's memory
    (``weight.data``), this does not keep the old memory. Without ``checked``, what they hold isn't read.
    """

    def __init__(self, model: nn.Module, checked: bool = True) -> None:
        self._objects: list[_Object] = []
        self._containers: list[_Container] = []
        self._tensors: list[_Tensor] = []
        for value in _reachable(model):
            if isinstance(value, Tensor):
                self._tensors.append(_Tensor(value, value.requires_grad))
            if isinstance(value, CONTAINERS):
                self._containers.append(_Container(value, _copy(value)))
            elif (attributes := _attributes(value)) is not None:
                self._objects.append(_Object(value, type(value), dict(attributes)))
        self._prints = self._tensor_prints() if checked else []

    @property
    def bytes(self) -> int:
        """The bytes of all tensors; those at the same address count once."""
        tensors = (each.tensor for each in self._tensors)
        return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())

    def restore(self) -> None:
        """Puts back what every object and container held, and each tensor's ``requires_grad``; drops gradients."""
        changed: list[_Object | _Container | _Tensor] = [*self._objects, *self._containers, *self._tensors]
        for each in changed:
            each.restore()

    def is_unchanged(self) -> bool:
        """Whether every tensor is where it was, in the same form, with the same contents."""
        return self._tensor_prints() == self._prints

    def _tensor_prints(self) -> list[tuple[Any, ...]]:
        # Not by `Tensor._version`: what is written through `.data` doesn't count there, and torch's DDP counts it up
        # when it sends all workers the weights that they have.
        tensors = [each.tensor.detach().as_subclass(Tensor) for each in self._tensors]
        sums = _values([_sum_of_contents(tensor) for tensor in tensors])
        return [
            (t.data_ptr(), t.shape, t.stride(), t.dtype, t.device, total)
            for t, total in zip(tensors, sums, strict=True)
        ]


@dataclass(frozen=True)
class _Object:
    """An object with the attributes that it had, and its class, which libraries replace, too."""

    value: Any
    cls: type
    attributes: dict[str, Any]

    def restore(self) -> None:
        if type(self.value) is not self.cls:
            self.value.__class__ = self.cls
        current = vars(self.value)
        current.clear()
        current.update(self.attributes)


@dataclass(frozen=True)
class _Container:
    """A container with what was in it. The container itself stays, as several objects may share it."""

    value: Any
    contents: Any

    def restore(self) -> None:
        self.value.clear()
        add = self.value.extend if isinstance(self.value, list | deque) else self.value.update
        add(self.contents)


@dataclass(frozen=True)
class _Tensor:
    tensor: Tensor
    requires_grad: bool

    def restore(self) -> None:
        self.tensor.grad = None
        if self.tensor.requires_grad != self.requires_grad:
            self.tensor.requires_grad_(self.requires_grad)


def _copy(container: Any) -> Any:
    kind = next(kind for kind in CONTAINERS if isinstance(container, kind))
    return kind(container)


def _reachable(model: nn.Module) -> Iterator[Any]:
    """The model and all that its objects hold, each once."""
    seen: dict[int, Any] = {}  # with the values, so that no id is used again meanwhile
    waiting: list[Any] = [model]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        yield value
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (*CONTAINERS, tuple, frozenset)):
            waiting.extend(value)
        elif (attributes := _attributes(value)) is not None:
            waiting.extend(attributes.values())


def _attributes(value: Any) -> dict[str, Any] | None:
    """The dictionary of a value's attributes; ``None`` for what has none, or is no part of a model.

    Parts are modules, tensors (quantizers keep scales as attributes of weights), configs and the states of layers.
    Functions, classes and what belongs to the whole process are not.
    """
    if isinstance(value, type | ModuleType | logging.Logger | Enum):
        return None
    if callable(value) and not isinstance(value, nn.Module):
        return None
    attributes = getattr(value, "__dict__", None)
    return attributes if isinstance(attributes, dict) else None


def _sum_of_contents(tensor: Tensor) -> Tensor:
    """The sum of a tensor's contents, read as the largest integers that fit: () of int64.

    Sums of integers are exact and wrap around; training, merging and casting change them.
    """
    flat = tensor.contiguous().view(-1)
    size, start = flat.numel() * flat.element_size(), flat.storage_offset() * flat.element_size()
    widths = (torch.int64, torch.int32, torch.int16, torch.uint8)
    widest = next(each for each in widths if size % each.itemsize == 0 and start % each.itemsize == 0)
    return flat.view(widest).sum(dtype=torch.int64)


def _values(scalars: Sequence[Tensor]) -> list[int]:
    """The values of tensors (), read from each device at once."""
    values: dict[int, int] = {}
    for device in {scalar.device for scalar in scalars}:
        places = [place for place, scalar in enumerate(scalars) if scalar.device == device]
        there = torch.stack([scalars[place] for place in places])
        values |= dict(zip(places, there.tolist(), strict=True))
    return [values[place] for place in range(len(scalars))]
