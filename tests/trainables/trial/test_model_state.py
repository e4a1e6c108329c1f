"""The state of a model: what was done to it is undone, and writing to its weights is seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trainables.trial.model_state import ModelState


class Settings:
    def __init__(self) -> None:
        self.sizes, self.names, self.depth = [1, 2], {"a": 1}, {1, 2}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.settings = Settings()
        self.layer = nn.Linear(3, 3)
        self.tied = nn.Linear(3, 3, bias=False)
        self.tied.weight = self.layer.weight
        self.register_buffer("scale", torch.ones(5, dtype=torch.bfloat16))
        self.layer.weight.scales = torch.arange(3)  # type: ignore[attr-defined]  # as quantizers do
        self.settings_again = self.settings

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.tied(self.layer(hidden)) * self.scale[0]


def described(value: Any, depth: int = 6) -> Any:
    """Everything below an object, by value, with the identities of modules and tensors."""
    if isinstance(value, dict):
        return {name: described(each, depth) for name, each in value.items()}
    if isinstance(value, list | set | tuple):
        return [described(each, depth) for each in value]
    if (hasattr(value, "__dict__") and not callable(value)) or isinstance(value, nn.Module):
        return id(value), type(value), described(vars(value), depth - 1) if depth else None
    return id(value) if callable(value) else value


def test_hooks_layers_methods_settings_and_flags_are_put_back() -> None:
    model = Model()
    state, before = ModelState(model), described(vars(model.settings))
    layer, result = model.layer, model(torch.ones(1, 3))
    model.eval().requires_grad_(False)
    model.layer.register_forward_hook(lambda *given: None)
    model.tied.forward = lambda hidden: hidden  # type: ignore[method-assign]
    model.layer = nn.Sequential(model.layer, nn.Linear(3, 3))  # type: ignore[assignment]
    model.layer[0].__class__ = nn.Bilinear
    model.settings.sizes.append(3)
    model.settings.names.update(b=2)
    model.settings.depth.clear()
    model.settings.new = 1  # type: ignore[attr-defined]
    model.tied.weight.scales = None  # type: ignore[attr-defined]
    model.register_buffer("scale", torch.zeros(5))
    state.restore()
    assert model.layer is layer
    assert type(layer) is nn.Linear
    assert not layer._forward_hooks
    assert described(vars(model.settings)) == before
    assert model.settings is model.settings_again
    assert model.training
    assert model.tied.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model.tied.weight.scales, torch.arange(3))  # type: ignore[arg-type]
    assert torch.equal(model(torch.ones(1, 3)), result)
    assert state.is_unchanged()


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.layer.weight.data.mul_(2),
        lambda model: model.layer.weight.data[0].copy_(model.layer.weight.data[1]),
        lambda model: setattr(model.layer.weight, "data", model.layer.weight.data.clone()),
        lambda model: setattr(model.layer.bias, "data", model.layer.bias.data.double()),
        lambda model: model.scale[3].fill_(2),
        lambda model: model.layer.weight.scales.add_(1),
    ],
)
def test_writing_to_a_weight_or_replacing_its_memory_is_seen(change: Any) -> None:
    model = Model()
    state = ModelState(model)
    with torch.no_grad():
        model(torch.ones(1, 3))
        assert state.is_unchanged()
        change(model)
    state.restore()
    assert not state.is_unchanged()


def test_bytes_count_memory_that_is_shared_once() -> None:
    assert ModelState(Model()).bytes == 4 * (9 + 3) + 2 * 5 + 8 * 3


def test_gradients_are_dropped() -> None:
    model = Model()
    state = ModelState(model)
    model(torch.ones(1, 3)).sum().backward()
    state.restore()
    assert all(parameter.grad is None for parameter in model.parameters())
