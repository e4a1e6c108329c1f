"""A model without contents, with a method attached as in training, and the decoder layers of it that are traced."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig
from transformers.pytorch_utils import Conv1D

from trainables.memory.tracing.case import TracedCase, WeightSizes
from trainables.memory.tracing.stand_ins import QuantizedLinear
from trainables.methods import LoRA, Method, QLoRA, own_method
from trainables.methods.layerwise import LayerWise
from trainables.methods.lora_targets import ALL_LINEAR
from trainables.methods.own_code import is_own_kind
from trainables.models.architecture.decoder_layers import decoder_layers
from trainables.models.architecture.weight_reader import model_weights
from trainables.models.precision import choose_dtypes
from trainables.trial.loading import LOADERS


@dataclass(frozen=True)
class FakeModel:
    """``policy``: a model with a method attached; ``causal``: the transformers model in it.

    It has only some of its decoder layers, ``layers``, whose numbers in the whole model are ``traced``. ``kinds``: the
    kind of each layer of the whole.
    """

    policy: Any
    causal: Any
    layers: tuple[nn.Module, ...]
    traced: tuple[int, ...]
    kinds: tuple[int, ...]


def model_config(model: dict[str, Any], **options: Any) -> Any:
    """The transformers config of a ``config.json``. Raises whatever its class raises for odd values."""
    kind = str(model.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise ValueError(f"transformers has no models of type {kind}")
    with tempfile.TemporaryDirectory() as folder:
        # From a file, since some values are read in another way than from a mapping.
        (Path(folder) / "config.json").write_text(json.dumps(model), encoding="utf-8")
        return AutoConfig.from_pretrained(folder, local_files_only=True, **options)


def count_parameters(model: dict[str, Any]) -> int:
    """How many parameters the causal language model of a ``config.json`` has; tied ones count once."""
    with torch.device("meta"):
        made = LOADERS["CAUSAL_LM"][0].from_config(model_config(model))
    return sum(parameter.numel() for parameter in made.parameters())


def base_model(case: TracedCase) -> Any:
    """The base model on the meta device, in the dtype that it is loaded in."""
    loader, options = LOADERS[case.task]
    dtype = _method(case).load_dtype(choose_dtypes(case.precision, case.dtype))
    config = model_config(dict(case.model), **options)
    with torch.device("meta"):
        model = loader.from_config(config, dtype=dtype, attn_implementation=case.attention)
    model.config.use_cache = False
    return model


def _method(case: TracedCase) -> Any:
    read = TypeAdapter(Method).validate_python
    method = read(dict(case.method))
    return read(dict(case.method)) if own_method.load_for(method) else method


def attach(case: TracedCase, every_layer: bool = False) -> FakeModel:
    """The model of a case, on the meta device, with its method attached.

    It has three layers of each kind, as far as there are three; with ``every_layer`` all of them.
    """
    model, method = base_model(case), _method(case)
    layers = decoder_layers(model)
    # Adapters on all layers would take seconds. Where every layer gets the same, they are attached to those traced.
    # What a method of one's own does with which layer, nobody knows.
    alike = method.saves_adapter and not is_own_kind(method.kind)
    alike = alike and (not isinstance(method.targets, str) or method.targets == ALL_LINEAR)
    # A module of one layer may be excluded.
    alike = alike and not getattr(method, "layers", None) and not getattr(method, "exclude", ())
    kinds = layer_kinds(model, layers) if alike else []
    if alike and not every_layer:
        layers = _keep_layers(model, layers, _sampled(kinds))
    policy = _attach(model, method, case)
    causal = policy.get_base_model() if hasattr(policy, "peft_config") else policy
    if not alike:
        kinds = layer_kinds(causal, layers)
    traced = list(range(len(kinds))) if every_layer else _sampled(kinds)
    if len(layers) > len(traced):
        layers = _keep_layers(causal, layers, traced)
    return FakeModel(policy, causal, tuple(layers), tuple(traced), tuple(kinds))


def _attach(model: Any, method: Any, case: TracedCase) -> Any:
    dtypes = choose_dtypes(case.precision, case.dtype)
    if isinstance(method, QLoRA):
        if is_own_kind(method.kind):
            raise ValueError(f"what {method.kind} changes of qlora is not known")
        _quantize(model, method, dtypes.compute)
        # What remains is a LoRA on layers that are there already.
        adapter = {name: getattr(method, name) for name in LoRA.model_fields if name not in ("kind", "name")}
        method = _LoRAOnStandIns.model_construct(**adapter)
    policy = method.attach(model, dtypes)
    if isinstance(method, LayerWise):
        method.train_heaviest(policy, dtypes)
    if case.checkpointing:
        # Generators of random numbers have no contents here, so there is nothing to keep of them.
        options = {"use_reentrant": False, "preserve_rng_state": False}
        policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
        if hasattr(policy, "peft_config"):
            policy.get_base_model().enable_input_require_grads()
    return policy


class _LoRAOnStandIns(LoRA):
    """Adapters beside the layers that stand for quantized ones."""

    def _packed(self, module: nn.Module) -> Mapping[str, int]:
        return {"weight": module.weight.numel()} if isinstance(module, QuantizedLinear) else {}


def _quantize(model: Any, method: QLoRA, compute: torch.dtype) -> None:
    """Puts stand-ins into the places of the linear layers that quantizers replace."""
    linear = {weight.module for weight in model_weights(model) if weight.form == "linear"}
    for name, module in list(model.named_modules()):
        if name not in linear:
            continue
        # Conv1D's weight is (inputs, outputs), a linear layer's (outputs, inputs).
        inputs, outputs = module.weight.shape if isinstance(module, Conv1D) else module.weight.shape[::-1]
        parent, _, last = name.rpartition(".")
        stand_in = QuantizedLinear(
            inputs, outputs, module.bias, compute, method.quantizer.holds_inputs(method)
        )
        setattr(model.get_submodule(parent), last, stand_in)


def layer_kinds(model: Any, layers: list[nn.Module]) -> list[int]:
    """For each decoder layer the number of its kind: layers of one kind have equal weights, types and switches."""
    numbers: dict[Hashable, int] = {}
    lists = _lists_by_layer(model.config.get_text_config(), len(layers)).values()
    # A list of the layers' own numbers says nothing of their kinds.
    settings = [values for values in lists if len(set(map(str, values))) < len(values)]
    reached = any(p.requires_grad for p in model.get_input_embeddings().parameters())
    kinds = []
    for number, layer in enumerate(layers):
        reached = reached or any(p.requires_grad for p in layer.parameters())
        described = (
            tuple((n, tuple(p.shape), p.dtype, p.requires_grad) for n, p in layer.named_parameters()),
            tuple(_switches(layer)),
            tuple(str(values[number]) for values in settings),
            reached,
        )
        kinds.append(numbers.setdefault(described, len(numbers)))
    return kinds


def _switches(layer: nn.Module) -> Iterable[Hashable]:
    for name, module in layer.named_modules():
        yield from ((name, key, value) for key, value in vars(module).items() if isinstance(value, bool))


def _lists_by_layer(config: Any, layers: int) -> dict[str, list[Any]]:
    """The settings that a config has for each layer, such as its ``layer_types``."""
    return {
        name: list(value)
        for name, value in vars(config).items()
        if isinstance(value, list | tuple) and len(value) == layers
    }


def _sampled(kinds: list[int]) -> list[int]:
    """The first, a middle and the last layer of each kind, in order: layers may use what earlier ones computed."""
    numbers: dict[int, list[int]] = {}
    for number, kind in enumerate(kinds):
        numbers.setdefault(kind, []).append(number)
    return sorted({each[place] for each in numbers.values() for place in (0, len(each) // 2, -1)})


def _keep_layers(model: Any, layers: list[nn.Module], chosen: list[int]) -> list[nn.Module]:
    """Leaves only the ``chosen`` ones of a model's layers in it, and their settings in its config."""
    config = model.config.get_text_config()
    for name, values in _lists_by_layer(config, len(layers)).items():
        setattr(config, name, [values[number] for number in chosen])
    kept = [layers[number] for number in chosen]
    replace_layers(model, layers, kept)
    return kept


def replace_layers(model: nn.Module, layers: Iterable[nn.Module], others: Iterable[nn.Module]) -> None:
    """Puts ``others`` into the list of a model's ``layers``, in their place."""
    layers = list(layers)
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    container = next(m for m in lists if len(m) == len(layers) and m[0] is layers[0])
    container._modules.clear()
    container.extend(others)


def weight_sizes(module: nn.Module) -> WeightSizes:
    """What becomes of a module's weights, each counted once. The weights of adapters are those that PEFT added."""
    seen: dict[int, WeightSizes] = {}
    for each in module.modules():
        for name, parameter in each.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen[id(parameter)] = _weight_size(each, name, parameter)
    adapters = {
        id(p) for name, p in module.named_parameters() if "lora_" in name or "modules_to_save" in name
    }
    sizes = (
        replace(size, trained=0, adapters=size.trained) if key in adapters else size
        for key, size in seen.items()
    )
    return sum(sizes, WeightSizes())


def _weight_size(module: nn.Module, name: str, parameter: nn.Parameter) -> WeightSizes:
    count = parameter.numel()
    if isinstance(module, QuantizedLinear) and name == "weight":
        return WeightSizes(quantized=count, quantized_outputs=parameter.shape[0])
    if parameter.requires_grad:
        return WeightSizes(trained=count)
    return WeightSizes(frozen=count, frozen_bytes=count * parameter.element_size())


def without_contents(model: nn.Module) -> None:
    """Moves a model from the meta device to fake tensors on the CPU, in place; within a ``FakeTensorMode``."""
    moved: dict[int, nn.Parameter] = {}  # by id, so that tied weights stay one
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in moved:
                    empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                    moved[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                module._parameters[name] = moved[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
