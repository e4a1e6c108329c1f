"""Dropout of a model, for stages whose policy has to be the one that sampled the answers."""

from __future__ import annotations

from torch import nn


def turn_dropout_off(model: nn.Module) -> None:
    """Turns dropout off: with it, updates would see another policy than the one that sampled the answers."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # Attention and some layers keep their dropout as a number, which they pass to a function.
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)
