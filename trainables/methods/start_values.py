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
    kind = config.peft_type.value.lower()
    if kind == "shira" and any(parameter.is_meta for parameter in model.parameters()):
        config.mask_fn = _first_weights
    elif kind == "adamss":
        from peft.tuners.adamss import layer

        layer.clustering_Z = _clusters  # type: ignore[assignment]


def _first_weights(layer: Any, r: int, **options: Any) -> torch.Tensor:
    """Which weights of a layer shira trains, (outputs, inputs): as many as it would draw."""
    import torch

    outputs, inputs = layer.weight.shape
    return (torch.arange(outputs * inputs) < r * (outputs + inputs)).view(outputs, inputs)


def _clusters(vectors: torch.Tensor, count: int, iterations: int) -> tuple[torch.Tensor, int]:
    """The cluster of each of adamss' ``vectors`` (outputs, rank), and how many there are. Of vectors without values
    equal parts: how many weights train depends on the number of clusters and not on their sizes.
    """
    import torch
    from peft.tuners.adamss import utils

    if not vectors.is_meta:
        return utils.clustering_Z(vectors, count, iterations)
    count = min(count, len(vectors))
    return torch.arange(len(vectors), device="cpu") % count, count
