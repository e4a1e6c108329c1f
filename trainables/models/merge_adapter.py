"""The sum of an adapter and the model below it: the one way that adapters are merged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from trainables.models.folder import ModelError


def merged(model: Any) -> Any:
    """The model of a ``PeftModel``, its active adapter added to its weights; what was passed in is used up.

    Each layer's sum is taken in 32 bits and rounded once, to the dtype its weight had. A weight that the embedding and
    the head share is parted where only one was adapted. Raises ``ModelError`` for sums that are not finite.
    """
    _part(model)
    try:
        for layer in _adapted(model):
            _add(layer)
        return model.merge_and_unload(safe_merge=True)  # what is added already stays as it is
    except ValueError as error:
        raise ModelError(f"the adapter can't be merged: {error}") from error


def _adapted(model: nn.Module) -> Iterator[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    yield from (module for module in model.modules() if isinstance(module, BaseTunerLayer))


def _add(layer: Any) -> None:
    before = layer.get_base_layer().weight.dtype
    layer.to(torch.float32)
    layer.merge(safe_merge=True)
    layer.to(before)


def _part(model: Any) -> None:
    """Gives an adapted layer a weight of its own where it shares one: the sum isn't the other's."""
    users: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        if isinstance(weight := module._parameters.get("weight"), nn.Parameter):
            users.setdefault(id(weight), []).append(module)
    for layer in _adapted(model):
        base = layer.get_base_layer()
        if len(users.get(id(base.weight), ())) > 1:
            base.weight = nn.Parameter(base.weight.data.clone(), requires_grad=False)
