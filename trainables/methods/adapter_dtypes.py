"""The dtypes of what adapters hold and receive, beside the weights that they train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


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
