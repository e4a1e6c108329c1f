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
    config = model.active_peft_config
    if config.is_prompt_learning or config.is_adaption_prompt:
        kind = config.peft_type.value.lower()
        where = "before each text" if config.is_prompt_learning else "into attention"
        what = f"the adapter can't be merged: {kind} puts virtual tokens {where}, and changes no weights"
        raise ModelError(f"{what}. --adapter exports it as it is")
    _separate_shared_weights(model)
    try:
        for layer in _adapter_layers(model):
            _merge_in_float32(layer)
        _unwrap_trained_modules(model.get_base_model())
        return model.merge_and_unload(safe_merge=True)  # only removes PEFT's wrappers: all layers are merged
    except (ValueError, NotImplementedError) as error:  # some of PEFT's types have no merged form
        what = f"the adapter can't be merged: {error}. --adapter exports it as it is"
        raise ModelError(what) from error


def _adapter_layers(model: nn.Module) -> Iterator[Any]:
    """PEFT's layers. Those that adapt several tensors of one module contain one another; the outermost comes first."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    yield from (module for module in model.modules() if isinstance(module, BaseTunerLayer))


def _unwrap_trained_modules(model: nn.Module) -> None:
    """Puts modules that were trained whole in place of the base's.

    PEFT does that, too, but for most of its types only of modules with a ``weight``, which an encoder's pooler has not.
    """
    from peft.utils.other import ModulesToSaveWrapper

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ModulesToSaveWrapper):
                trained = child.unload_and_optionally_merge_module(
                    merge=True, safe_merge=True, adapter_names=None
                )
                setattr(parent, name, trained)


def _merge_in_float32(layer: Any) -> None:
    # The adapter's own weights and the one that it is added to; other tensors of its layer stay as they are.
    tensors = [_base_weight(layer)]
    for name in layer.adapter_layer_names:
        tensors += getattr(layer, name).parameters()
    tensors += adapter_buffers(layer)
    before = [tensor.dtype for tensor in tensors]
    for tensor in tensors:
        tensor.data = tensor.data.to(torch.float32)
    layer.merge(safe_merge=True)
    # The sum is rounded once. PEFT may have replaced the parameter.
    for tensor, dtype in zip([_base_weight(layer), *tensors[1:]], before, strict=True):
        tensor.data = tensor.data.to(dtype)


def adapter_buffers(model: nn.Module) -> Iterator[torch.Tensor]:
    """What PEFT's layers multiply with and don't train, as random projections; those of floating-point numbers."""
    from peft.tuners._buffer_dict import BufferDict

    for module in model.modules():
        if isinstance(module, BufferDict):
            yield from (buffer for buffer in module.values() if buffer.is_floating_point())


def _base_weight(layer: Any) -> Any:
    """The weight that an adapter is added to: that of a layer, or one of the tensors that experts share."""
    return layer.get_param() if hasattr(layer, "get_param") else layer.get_base_layer().weight


def _separate_shared_weights(model: Any) -> None:
    """Gives an adapted layer that shares its weight a copy, so that merging changes no other layer."""
    users: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        # PEFT's wrappers forward the attribute `weight` to their base layer, which would be counted twice.
        if isinstance(weight := module._parameters.get("weight"), nn.Parameter):
            users.setdefault(id(weight), []).append(module)
    for layer in _adapter_layers(model):
        base = layer.get_base_layer()
        weight = base._parameters.get("weight")
        if weight is not None and len(users.get(id(weight), ())) > 1:
            base.weight = nn.Parameter(weight.data.clone(), requires_grad=False)
