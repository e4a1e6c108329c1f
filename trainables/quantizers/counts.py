"""Counts of a model's parameters and quantized layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trainables.quantizers import QUANTIZERS


def count_quantized(model: torch.nn.Module) -> int:
    """The number of layers that are quantized, by any quantizer."""
    return sum(any(q.is_quantized(module) for q in QUANTIZERS.values()) for module in model.modules())


def packed_weights(module: torch.nn.Module) -> Mapping[str, int]:
    """The weights that each packed parameter of a module stands for, by its name, whichever quantizer packed it."""
    return next((packed for q in QUANTIZERS.values() if (packed := q.packed(module))), {})


def count_parameters(model: torch.nn.Module) -> int:
    """The number of parameters; a packed tensor counts as the weights it stands for, a tied one once."""
    counts = {id(parameter): parameter.numel() for parameter in model.parameters()}
    for module in model.modules():
        for quantizer in QUANTIZERS.values():
            if quantizer.is_quantized(module):
                counts[id(next(module.parameters()))] = quantizer.weights(module)
    return sum(counts.values())
