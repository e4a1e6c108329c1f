"""Modules that stand for others in a traced model: quantized linear layers, the head, and layers with marks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class QuantizedLinear(nn.Linear):
    """A frozen layer that holds its weights in few bits, and whole ones only while it multiplies.

    ``holds_input``: it keeps its input for the backward pass where checkpointing doesn't see it, as LLM.int8() does.
    """

    def __init__(
        self, inputs: int, outputs: int, bias: nn.Parameter | None, compute: torch.dtype, holds_input: bool
    ) -> None:
        super().__init__(inputs, outputs, False, device="meta", dtype=compute)
        self.weight = nn.Parameter(
            torch.empty(outputs, inputs, dtype=torch.uint8, device="meta"), requires_grad=False
        )
        self.register_parameter("bias", bias)
        self.compute, self.holds_input = compute, holds_input

    def forward(self, hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            product = _QuantizedProduct.apply(hidden.to(self.compute), self.weight, self.holds_input)
            result: Tensor = product if self.bias is None else product + self.bias.to(self.compute)
            return result.to(hidden.dtype)


class _QuantizedProduct(torch.autograd.Function):
    """hidden @ weight.T with the weight brought to the products' type for a moment, in both passes."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, holds_input: bool) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.held = hidden if holds_input else None
        return hidden @ weight.to(hidden.dtype).T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (weight,), (gradient,) = ctx.saved_tensors, gradients
        return gradient @ weight.to(gradient.dtype), None, None


class HeadGradient(torch.autograd.Function):
    """Stands for the head and the loss: keeps the hidden states (rows, tokens, width), and gives them a gradient."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor) -> Tensor:
        ctx.save_for_backward(hidden)
        return hidden.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.empty_like(ctx.saved_tensors[0])


class MarkedLayer(nn.Module):
    """A decoder layer that calls ``before`` with the hidden states that it gets, and ``after`` with its result."""

    def __init__(
        self, layer: nn.Module, before: Callable[[Tensor], None], after: Callable[[Tensor], None]
    ) -> None:
        super().__init__()
        self.layer, self.before, self.after = layer, before, after

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._modules["layer"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        self.before(given)
        result = self.layer(*args, **kwargs)
        self.after(result[0] if isinstance(result, tuple | list) else result)
        return result
