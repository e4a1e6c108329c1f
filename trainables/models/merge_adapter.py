"""Merging of an adapter into its base model: the only way in which Paretune merges adapters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from trainables.models.folder import ModelError


def merge_adapter(model: Any) -> Any:
    """The base model of a ``PeftModel`` with the active adapter added to its weights; the argument is consumed.

    Each layer's sum is computed in 32 bits and rounded once, to its weight's dtype. Where only one of embedding and
    head was adapted, a weight that both share becomes two. Raises ``ModelError`` for sums that are not finite.
    """
    _separate_shared_weights(model)
    try:
        for layer in _adapter_layers(model):
            _merge_in_float32(layer)
        return model.merge_and_unload(safe_merge=True)  # only removes PEFT's wrappers: all layers are merged
    except ValueError as error:
        raise ModelError(f"the adapter can't be merged: {error}") from error


def _adapter_layers(model: nn.Module) -> Iterator[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    yield from (module for module in model.modules() if isinstance(module, BaseTunerLayer))


def _merge_in_float32(layer: Any) -> None:
    before = layer.get_base_layer().weight.dtype
    # Casts the base's weight and the adapter alike; the sum of both is rounded once, when it is cast back.
    layer.to(torch.float32)
    layer.merge(safe_merge=True)
    layer.to(before)


def _separate_shared_weights(model: Any) -> None:
    """Gives an adapted layer that shares its weight a copy, so that merging changes no other layer."""
    users: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        # PEFT's wrappers forward the attribute `weight` to their base layer, which would be counted twice.
        if isinstance(weight := module._parameters.get("weight"), nn.Parameter):
            users.setdefault(id(weight), []).append(module)
    for layer in _adapter_layers(model):
        base = layer.get_base_layer()
        if len(users.get(id(base.weight), ())) > 1:
            base.weight = nn.Parameter(base.weight.data.clone(), requires_grad=False)
