"""The dtypes of what adapters hold and receive, beside the weights that they train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def cast_buffers(model: nn.Module, dtype: torch.dtype) -> None:
    """Casts what PEFT's layers multiply with and don't train (random projections, norms) to ``dtype``: that of the
    weights when they are scored and saved.

    PEFT creates such tensors in 32 bits. Training's autocast would join both dtypes; scoring, which has none, can't.
    """
    from trainables.models.merge_adapter import adapter_buffers

    for buffer in adapter_buffers(model):
        buffer.data = buffer.data.to(dtype)


def leave_inputs(model: nn.Module) -> None:
    """Keeps PEFT's layers from a copy of their inputs in 32 bits, which autocast would cast back to 16."""
    module: Any
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False


def keep_input_dtype(model: nn.Module) -> None:
    """Has adapters beside packed weights give what they receive: some of PEFT's give 32 bits where autocast is off.

    A model in 16 bits could not multiply that with what its other layers give.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        packed = isinstance(module, BaseTunerLayer) and type(module).__module__.endswith(".bnb")
        if packed and _in_dtype_of_input not in module._forward_hooks.values():
            module.register_forward_hook(_in_dtype_of_input, with_kwargs=True)


def _in_dtype_of_input(
    module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Tensor
) -> Tensor:
    # The first argument, whatever a layer calls it, if by its name.
    return output.to(next(iter((*inputs, *named.values()))).dtype)
