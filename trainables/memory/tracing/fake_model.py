"""A model without contents, with a method attached as in training, and the decoder layers of it that are traced."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoConfig

from trainables.memory.tracing import quantized_layers
from trainables.memory.tracing.case import TracedCase
from trainables.memory.tracing.weights import shared_weights
from trainables.methods import Method, PeftAdapter, own_method
from trainables.methods.layerwise import LayerWise
from trainables.methods.lora_targets import ALL_LINEAR
from trainables.methods.own_code import is_own_kind
from trainables.models.architecture.decoder_layers import decoder_layers
from trainables.models.precision import choose_dtypes
from trainables.trial.loading import LOADERS

# PEFT's options that tell layers apart.
OF_SOME_LAYERS = frozenset(
    {
        "adapter_layers",
        "exclude_modules",
        "layers_pattern",
        "layers_to_transform",
        "rank_pattern",
        "alpha_pattern",
        "target_parameters",
    }
)


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
        made = LOADERS["CAUSAL_LM"].from_config(model_config(model))
    return sum(parameter.numel() for parameter in made.parameters())


def base_model(case: TracedCase) -> Any:
    """The base model on the meta device, in the dtype that it is loaded in."""
    options = {} if case.outputs is None else {"num_labels": case.outputs}
    dtype = _method(case).load_dtype(choose_dtypes(case.precision, case.dtype))
    config = model_config(dict(case.model), **options)
    with torch.device("meta"):
        model = LOADERS[case.task].from_config(config, dtype=dtype, attn_implementation=case.attention)
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
    alike = alike and (
        not isinstance(method.targets, str) or method.targets == ALL_LINEAR or _of_all_layers(method)
    )
    # A module of one layer may be excluded.
    alike = alike and not getattr(method, "layers", None) and not getattr(method, "exclude", ())
    kinds = layer_kinds(model, layers) if alike else []
    if alike and not every_layer:
        layers = _keep_layers(model, layers, _sampled(kinds))
    policy = _attach(model, method, case)
    causal = policy.get_base_model() if hasattr(policy, "peft_config") else policy
    if not alike:
        kinds = layer_kinds(causal, layers)
    if shared_weights(layers):  # how many there are follows from the number of layers
        if alike and not every_layer:
            return attach(case, every_layer=True)
        every_layer = True
    traced = list(range(len(kinds))) if every_layer else _sampled(kinds)
    if len(layers) > len(traced):
        layers = _keep_layers(causal, layers, traced)
    return FakeModel(policy, causal, tuple(layers), tuple(traced), tuple(kinds))


def _of_all_layers(method: Any) -> bool:
    """Whether an adapter whose modules PEFT chooses itself is on every layer, and on nothing else."""
    return (
        isinstance(method, PeftAdapter)
        and not method.adds_tokens
        and not method.options.keys() & OF_SOME_LAYERS
    )


def _attach(model: Any, method: Any, case: TracedCase) -> Any:
    dtypes = choose_dtypes(case.precision, case.dtype)
    if method.quantization is not None:
        if is_own_kind(method.kind):
            raise ValueError(f"what {method.kind} changes of a quantized base is not known")
        method = quantized_layers.quantize(model, method, dtypes.compute)
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


def without_contents(model: nn.Module) -> None:
    """Moves a model from the meta device to fake tensors on the CPU, in place; within a ``FakeTensorMode``."""
    moved: dict[int, nn.Parameter] = {}  # by id, so that tied weights stay one
    buffers: dict[int, Tensor] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in moved:
                    empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                    moved[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                module._parameters[name] = moved[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                if id(buffer) not in buffers:
                    buffers[id(buffer)] = torch.empty(buffer.shape, dtype=buffer.dtype)
                module._buffers[name] = buffers[id(buffer)]
