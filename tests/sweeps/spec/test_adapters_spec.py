"""The shipped spec `adapters` compares adapters of one size, counted on two layers of SmolLM2's dimensions."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import torch
import yaml
from pydantic import TypeAdapter

from sweeps.spec.spec import SHIPPED
from tests.trainables.memory.test_prediction import SMOLLM2
from trainables.memory.tracing.fake_model import model_config
from trainables.methods import Method
from trainables.models.precision import choose_dtypes
from trainables.trial.loading import LOADERS

LORA_OF_RANK_8 = 2_442_240  # parameters in 30 layers


@cache
def text() -> str:
    return (SHIPPED / "adapters.yaml").read_text(encoding="utf-8")


@cache
def entries() -> list[dict[str, Any]]:
    return yaml.safe_load(text())["methods"]


def stated() -> dict[str, float]:
    """By name, the trainable parameters compared with those of LoRA, in percent, as the spec's comments have them."""
    lines = re.findall(r"^#   (\S+) .* ([+-]?\d+\.\d) %$", text(), re.MULTILINE)
    return {"lora": 0.0} | {name: float(share) for name, share in lines}


def trained_in_two_layers(entry: dict[str, Any]) -> int:
    # Alpha alone is searched, which changes no size.
    settings = {name: value for name, value in entry.items() if not isinstance(value, dict)}
    method: Any = TypeAdapter(Method).validate_python(settings)
    small = model_config({**SMOLLM2, "num_hidden_layers": 2, "vocab_size": 64})
    model: Any = LOADERS["CAUSAL_LM"].from_config(small, dtype=torch.float32)
    policy = method.attach(model, choose_dtypes("fp32", "float32"))
    return sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("number", range(8))
def test_every_adapter_trains_as_many_parameters_as_the_spec_says(number: int) -> None:
    assert len(entries()) == 8
    entry = entries()[number]
    name = entry.get("name") or entry.get("type") or entry["kind"]
    share = 100 * (trained_in_two_layers(entry) / (LORA_OF_RANK_8 / 15) - 1)
    assert share == pytest.approx(stated()[name], abs=0.051), entry


def test_the_spec_states_the_size_of_each_of_its_adapters() -> None:
    assert list(stated()) == [each.get("name") or each.get("type") or each["kind"] for each in entries()]
