"""Quantized layers of a model without contents, and the adapters beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from trainables.memory.tracing.stand_ins import QuantizedLinear
from trainables.methods import LoRA, PeftAdapter
from trainables.models.architecture.weight_reader import model_weights


class _LoRAOnStandIns(LoRA):
    """Adapters beside the layers that stand for quantized ones."""

    def _packed(self, module: nn.Module) -> Mapping[str, int]:
        return _packed_stand_in(module)


class _AdapterOnStandIns(PeftAdapter):
    """The same of PEFT's other types."""

    def _packed(self, module: nn.Module) -> Mapping[str, int]:
        return _packed_stand_in(module)


def _packed_stand_in(module: nn.Module) -> Mapping[str, int]:
    return {"weight": module.weight.numel()} if isinstance(module, QuantizedLinear) else {}


def quantize(model: Any, method: Any, compute: torch.dtype) -> Any:
    """Puts stand-ins into the places of the linear layers that quantizers replace. Returns the method to attach to
    them: that without the quantization, as these layers are there already.
    """
    quantizer = method.quantization.quantizer
    linear = {weight.module for weight in model_weights(model) if weight.form == "linear"}
    for name, module in list(model.named_modules()):
        if name not in linear:
            continue
        # Conv1D's weight is (inputs, outputs), a linear layer's (outputs, inputs).
        inputs, outputs = module.weight.shape if isinstance(module, Conv1D) else module.weight.shape[::-1]
        parent, _, last = name.rpartition(".")
        stand_in = QuantizedLinear(
            inputs, outputs, module.bias, compute, quantizer.holds_inputs(method.quantization)
        )
        setattr(model.get_submodule(parent), last, stand_in)
    if isinstance(method, PeftAdapter):
        return _AdapterOnStandIns.model_validate(method.model_copy(update={"bits": None}).model_dump())
    adapter = {name: getattr(method, name) for name in LoRA.model_fields if name not in ("kind", "name")}
    return _LoRAOnStandIns.model_construct(**adapter)
