"""The layers of a decoder, found by what they are: families name them differently (``layers``, ``h``, ``blocks``)."""

from __future__ import annotations

from typing import Any

from torch import nn


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder's layers, first to last: the list of modules that is as long as the config has layers.

    Of several, it is the outermost, since others are parts of layers, or of a tower for images; of those, the largest.
    Without one, as in models that count a layer twice or pass it several times, it is the largest list. Raises
    ``ValueError`` for a model without lists.
    """
    config: Any = model.config
    count = getattr(config.get_text_config(), "num_hidden_layers", None)
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    if not lists:
        raise ValueError(f"{type(model).__name__} has no list of layers; use another method")

    def order(name: str) -> tuple[bool, int, int]:
        fits = len(lists[name]) == count
        size = sum(parameter.numel() for parameter in lists[name].parameters())
        return fits, -name.count(".") if fits else 0, size

    return list(lists[max(lists, key=order)])
