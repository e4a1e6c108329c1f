"""How many weights a model has, and how many of its layers are quantized."""

from __future__ import annotations

import torch

from trainables.quantizers import QUANTIZERS


def count_quantized(model: torch.nn.Module) -> int:
    """How many layers are held in few bits, by any quantizer."""
    return sum(any(q.is_quantized(module) for q in QUANTIZERS.values()) for module in model.modules())


def count_parameters(model: torch.nn.Module) -> int:
    """All parameters; a quantized weight counts as what it stands for, a tied one once."""
    found = {id(parameter): parameter.numel() for parameter in model.parameters()}
    for module in model.modules():
        for quantizer in QUANTIZERS.values():
            if quantizer.is_quantized(module):
                found[id(next(module.parameters()))] = quantizer.weights(module)
    return sum(found.values())
