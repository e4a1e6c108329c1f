"""What of a model text reaches: towers for images and sounds stand beside a decoder, and a trial's rows are text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from trainables.models.architecture.blueprint import blueprint
from trainables.models.architecture.decoder_layers import decoder_layers
from trainables.models.architecture.model_weights import Weight
from trainables.models.architecture.weight_reader import model_weights

TOKENS = 9


def text_weights(
    model: Any, quantized: Callable[[nn.Module], Mapping[str, int]] = lambda module: {}
) -> tuple[Weight, ...]:
    """The weights of a transformers model, as ``model_weights`` gives them, without those that text never reaches."""
    outside = tuple(f"{name}." for name in beside_text(model.config))
    weights = model_weights(model, quantized)
    return tuple(weight for weight in weights if not f"{weight.module}.".startswith(outside))


def beside_text(config: Any) -> frozenset[str]:
    """Full names of the modules that a pass of tokens through the causal model of a transformers config never enters.

    Those of decoder layers count as entered: experts may wait for other tokens. Empty for a config without parts, and
    where a model without values can't say, since its pass depends on them.
    """
    if not config.sub_configs:
        return frozenset()
    return _beside_text(config.to_json_string(use_diff=False))


@lru_cache(maxsize=16)
def _beside_text(settings: str) -> frozenset[str]:
    model = blueprint(json.loads(settings))
    if model is None:
        return frozenset()
    entered = {id(module) for layer in decoder_layers(model) for module in layer.modules()}
    for module in model.modules():
        module.register_forward_pre_hook(lambda module, _: entered.add(id(module)))
    try:
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            model.eval()(input_ids=torch.zeros(1, TOKENS, dtype=torch.long, device="meta"), use_cache=False)
    except Exception:  # whatever a model's own code raises
        return frozenset()
    return frozenset(
        name
        for name, module in model.named_modules()
        if not any(id(each) in entered for each in module.modules())
    )
