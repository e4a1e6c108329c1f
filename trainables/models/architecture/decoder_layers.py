"""The layers of a decoder, found by what they are: families name them differently (``layers``, ``h``, ``blocks``)."""

from __future__ import annotations

from typing import Any

from torch import nn


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder's layers, first to last: the largest list of modules that is as long as the config has layers.

    Raises ``ValueError`` for a model without such a list.
    """
    config: Any = model.config
    count = config.get_text_config().num_hidden_layers
    lists: list[nn.ModuleList] = [
        module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if not lists:
        raise ValueError(f"{type(model).__name__} has no list of its {count} layers; use another method")
    # A list inside the layers, of experts, may have the same length.
    sizes = [sum(parameter.numel() for parameter in layers.parameters()) for layers in lists]
    return list(lists[sizes.index(max(sizes))])
