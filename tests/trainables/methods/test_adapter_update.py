"""A step of plain LoRA layers gives PEFT's gradients, with what the adapter adds as part of a matrix product."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.trials import make_config, make_policy
from trainables.methods.adapter_update import LAYERS

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora", "rank": 4, "alpha": 32},
    "rslora": {"kind": "lora", "rank": 4, "rslora": True},
    "B alone": {"kind": "lora", "rank": 4, "frozen_a": True},
    "4 bits": {"kind": "qlora", "rank": 4, "bits": 4},
    "8 bits": {"kind": "qlora", "rank": 4, "bits": 8},
}


def adapted_model(folder: Path, method: dict[str, Any]) -> Any:
    """A model in 32 bits whose adapters add something, in training."""
    torch.manual_seed(0)
    model: Any = make_policy(make_config(folder, "commands", method, dtype="float32")).model
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model.train()


def adapter_layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if "forward" in vars(module) and hasattr(module, "lora_A")]


def as_peft(model: Any) -> Any:
    """The model with the forward pass of PEFT's own classes."""
    for layer in adapter_layers(model):
        del layer.forward
    return model


def step(model: Any, autocast: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (2, 7, vocabulary) and the gradients of the trained weights."""
    tokens = torch.arange(14).view(2, 7) + 5
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = model(tokens, attention_mask=torch.ones_like(tokens)).logits
    logits.float().log_softmax(-1)[..., 3].mean().backward()
    return logits.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", METHODS)
def test_a_step_has_the_logits_and_gradients_of_pefts_own_layers(tiny_model: Path, name: str) -> None:
    model = adapted_model(tiny_model, METHODS[name])
    assert adapter_layers(model)
    logits, gradients = step(model)
    expected, expected_gradients = step(as_peft(adapted_model(tiny_model, METHODS[name])))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys() != set()
    # A base in 4 bits multiplies in 16, whose rounding the last digits of its inputs decide.
    tolerance = 0.02 if name == "4 bits" else 1e-5
    for weight, gradient in gradients.items():
        other = expected_gradients[weight]
        assert (gradient - other).norm() <= tolerance * other.norm(), weight


def test_in_16_bits_a_step_is_about_as_near_to_that_of_32_bits_as_with_pefts_own_layers(
    tiny_model: Path,
) -> None:
    exact, _ = step(adapted_model(tiny_model, METHODS["lora"]))
    joined, _ = step(adapted_model(tiny_model, METHODS["lora"]), autocast=True)
    pefts, _ = step(as_peft(adapted_model(tiny_model, METHODS["lora"])), autocast=True)
    assert (joined - exact).abs().mean() <= 1.5 * (pefts - exact).abs().mean()


def test_scores_are_those_of_pefts_own_layers_to_the_bit(tiny_model: Path) -> None:
    model = adapted_model(tiny_model, METHODS["lora"]).eval()
    logits, _ = step(model)
    assert torch.equal(logits, step(as_peft(model))[0])


@pytest.mark.parametrize("state", ["disabled", "merged"])
def test_adapters_that_are_off_or_merged_leave_the_layer_to_peft(tiny_model: Path, state: str) -> None:
    def logits(model: Any) -> Tensor:
        off = model.disable_adapter() if state == "disabled" else nullcontext(model.merge_adapter())
        with off:
            return model(torch.arange(7)[None] + 5).logits.detach()

    model = adapted_model(tiny_model, METHODS["lora"])
    assert torch.equal(logits(model), logits(as_peft(adapted_model(tiny_model, METHODS["lora"]))))


def test_layers_of_dora_compute_as_pefts_own(tiny_model: Path) -> None:
    model = adapted_model(tiny_model, {"kind": "lora", "rank": 4, "dora": True})
    logits, _ = step(model)
    assert torch.equal(logits, step(as_peft(model))[0])


def test_the_classes_that_are_named_are_pefts() -> None:
    from peft.tuners import lora
    from peft.tuners.lora import bnb

    assert all(hasattr(lora, name) or hasattr(bnb, name) for name in LAYERS)
