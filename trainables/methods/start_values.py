"""What PEFT computes from a model's weights when it attaches some types of adapters, where these have no values.

Plans attach adapters to a model on the meta device, to see whether their options fit its layers and what they take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


def stand_in(config: Any, model: nn.Module) -> None:
    """Puts results of the same sizes in the place of those that need values, for PEFT's ``config`` of an adapter."""
    if config.peft_type.value.lower() == "shira" and any(each.is_meta for each in model.parameters()):
        config.mask_fn = _first_weights


def _first_weights(layer: Any, r: int, **options: Any) -> torch.Tensor:
    """Which weights of a layer shira trains, (outputs, inputs): as many as it would draw."""
    import torch

    outputs, inputs = layer.weight.shape
    return (torch.arange(outputs * inputs) < r * (outputs + inputs)).view(outputs, inputs)
