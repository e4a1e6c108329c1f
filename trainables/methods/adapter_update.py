"""The training step of plain LoRA layers: what the adapter adds is part of its second matrix product.

PEFT computes ``result + B(A(x)) * scaling`` as a product, a multiplication and a sum, each over all outputs of the
layer, and the backward pass multiplies their gradient once more. Here the product adds to what the base layer gave, in
its place and scaled, and what the backward pass multiplies by the scaling is as wide as the rank. Outside of training
the layers compute as PEFT's own do, so that scores are those of the saved adapter.
"""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

LAYERS = ("Linear", "Linear4bit", "Linear8bitLt")  # PEFT's classes of LoRA layers over linear ones


def join_updates(model: nn.Module) -> None:
    """Has the LoRA layers of ``model`` over linear layers, quantized ones too, train in this way."""
    from peft.tuners.lora import LoraLayer

    layers = (module for module in model.modules() if isinstance(module, LoraLayer))
    layer: Any
    for layer in layers:
        if type(layer).__name__ in LAYERS:
            layer.forward = MethodType(_forward, layer)


def _forward(layer: Any, x: Tensor, *args: Any, **named: Any) -> Tensor:
    """``x``: (..., inputs). Returns (..., outputs), in the dtype that the base layer gives."""
    adapter = None if args or named or not layer.training else _plain_adapter(layer)
    if adapter is None:
        result: Tensor = type(layer).forward(layer, x, *args, **named)
        return result
    rows = x.reshape(-1, x.shape[-1])
    given: Tensor = layer.base_layer(rows)
    narrow = layer.lora_A[adapter](layer.lora_dropout[adapter](rows))
    wide = layer.lora_B[adapter].weight.t().to(narrow.dtype)
    scaling = layer.scaling[adapter]
    if given.dtype == narrow.dtype:
        joined = given.addmm_(narrow, wide, alpha=scaling)
    else:
        joined = given + ((narrow @ wide) * scaling).to(given.dtype)
    return joined.view(*x.shape[:-1], joined.shape[-1])


def _plain_adapter(layer: Any) -> str | None:
    """The name of the one adapter that adds to ``layer``; ``None`` where PEFT's own code has to compute."""
    from torch import nn

    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.disable_adapters or layer.merged or len(names) != 1 or names[0] in layer.lora_variant:
        return None
    second = layer.lora_B[names[0]]
    # Weights that are shared among workers are whole only where the module itself is called.
    hooked = bool(second._forward_pre_hooks or second._forward_hooks)
    return names[0] if type(second) is nn.Linear and second.bias is None and not hooked else None
