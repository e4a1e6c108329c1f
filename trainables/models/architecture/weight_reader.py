"""Reads what each weight of a loaded model is, by what modules and parameters are: families to come are known, too.

Names only tell attention, MLPs and other layers apart, on which nothing depends but the words of a report.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from trainables.models.architecture.model_weights import Form, Kind, Weight
from trainables.models.architecture.text_head import encoder_head

WORDS: Mapping[str, Kind] = {
    "attention": "attention",
    "attn": "attention",
    "mlp": "mlp",
    "feedforward": "mlp",
    "feed_forward": "mlp",
    "ffn": "mlp",
    "fc1": "mlp",
    "fc2": "mlp",
}


def model_weights(
    model: Any, quantized: Callable[[nn.Module], Mapping[str, int]] = lambda module: {}
) -> tuple[Weight, ...]:
    """The weights of a transformers model, without those of adapters; a tied one once, where it is found first.

    ``quantized``: the weights that each packed parameter of a module stands for, by its name, if there are any.
    """
    return tuple(_Reader(model, quantized).weights())


def is_plain_linear(module: nn.Module) -> bool:
    """Whether a module multiplies by its weight and adds its bias, whatever its class; a router does more."""
    from transformers.pytorch_utils import Conv1D

    if type(module) in (nn.Linear, Conv1D):
        return True
    # torch's own subclasses are read by the module that contains them, which doesn't call them.
    if not isinstance(module, nn.Linear) or type(module).__module__.startswith("torch.nn."):
        return False
    # The same forward pass with a small weight: the model's own may be large, or have no values yet.
    generator = torch.Generator().manual_seed(0)
    inputs, weight, bias = (torch.randn(size, generator=generator) for size in ((1, 4, 2), (3, 2), (3,)))
    small: Any = copy.copy(module)
    small._parameters = {"weight": nn.Parameter(weight), "bias": None}
    if module.bias is not None:
        small._parameters["bias"] = nn.Parameter(bias)
    small.in_features, small.out_features = 2, 3
    try:
        with torch.no_grad():
            outputs = small(inputs)
    except Exception:  # its forward pass needs other sizes, so it isn't that of a linear layer
        return False
    expected = nn.functional.linear(inputs, weight, small.bias)
    same = isinstance(outputs, torch.Tensor) and outputs.shape == expected.shape
    # Some multiply in 16 bits.
    return same and torch.allclose(outputs.float(), expected, rtol=0.02, atol=0.02)


def _read_layers(owner: nn.Module | None) -> frozenset[str]:
    """The layers of a module whose weight its code reads where it would call them: what an adapter adds to their
    outputs has no effect there.

    State-space mixers do so in their fused kernels or beside them, so by the machine; in other modules a call counts.
    """
    if owner is None:
        return frozenset()
    cls: Any = type(owner)
    read, called = _uses(cls)
    return read if hasattr(owner, "A_log") else read - called


@lru_cache(maxsize=1_000)
def _uses(cls: type) -> tuple[frozenset[str], frozenset[str]]:
    """The attributes of a class whose weight its code computes with, and those that it calls."""
    try:
        code = inspect.getsource(cls)
    except (OSError, TypeError):
        return frozenset(), frozenset()
    # Not what initializes them, nor questions about them.
    read = re.findall(r"(?<!_\()self\.(\w+)\.weight\b(?!\.(?:dtype|device|shape))", code)
    return frozenset(read), frozenset(re.findall(r"self\.(\w+)\(", code))


def _written_layers(modules: Mapping[str, nn.Module]) -> Iterator[str]:
    """Full names of the layers whose weight code of another module changes in place, such as RWKV's, which divides it
    before it answers: neither few bits nor an adapter's part would follow.
    """
    for name, module in modules.items():
        cls: Any = type(module)
        for variable, path in _writes(cls):
            if variable == "self":
                yield f"{name}{path}".removeprefix(".")
            else:
                yield from (other for other in modules if other.startswith(name) and other.endswith(path))


@lru_cache(maxsize=1_000)
def _writes(cls: type) -> frozenset[tuple[str, str]]:
    """The layers whose weight the code of a class changes in place, after it was made: a variable, and a path in it."""
    changes = r"(\w+)((?:\.\w+)+)\.weight(?:\.data)?\.(?:clamp|[a-z]\w*_)\("
    methods = (value for name, value in vars(cls).items() if inspect.isfunction(value) and "init" not in name)
    found: set[tuple[str, str]] = set()
    for method in methods:
        with contextlib.suppress(OSError, TypeError):
            found |= set(re.findall(changes, inspect.getsource(method)))
    return frozenset(found)


def _name_and_outputs(name: str, module: nn.Module) -> tuple[str, int] | None:
    outputs = getattr(module, "out_features", None)
    return None if outputs is None else (name.rpartition(".")[2], outputs)


class _Reader:
    def __init__(self, model: Any, quantized: Callable[[nn.Module], Mapping[str, int]]) -> None:
        self.model = model
        self.quantized = quantized
        self.modules = {_without_wrappers(name): module for name, module in _base_modules(model)}
        self.expert_counts = _expert_counts(model.config)
        heads = [m for m in (model.get_output_embeddings(), getattr(model, "score", None)) if m is not None]
        # A part that predicts tokens by itself has a head of the same name (BLT's patcher).
        known = {_name_and_outputs(name, module) for name, module in self.modules.items() if module in heads}
        self.heads = {id(m) for m in heads} | {
            id(m) for name, m in self.modules.items() if _name_and_outputs(name, m) in known - {None}
        }
        self.heads |= {id(part) for head in encoder_head(model).values() for part in head.modules()}
        self.written = frozenset(_written_layers(self.modules))
        # The modules that own experts, and the number of these.
        self.experts = {
            name: count for name, module in self.modules.items() if (count := self._experts_in(name, module))
        }

    def weights(self) -> Iterator[Weight]:
        seen: set[int] = set()
        for name, module in self.modules.items():
            packed = self.quantized(module)
            for parameter_name, parameter in _own_parameters(module):
                if id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                kind = self._kind(name, module)
                count, is_packed = packed.get(parameter_name, parameter.numel()), parameter_name in packed
                form = self._form(name, module, parameter_name, parameter, kind, is_packed)
                matrix = is_packed or parameter.dim() >= 2
                yield Weight(name, parameter_name, count, kind, form, matrix, is_packed)

    def _form(
        self, name: str, module: nn.Module, parameter_name: str, parameter: Any, kind: Kind, packed: bool
    ) -> Form:
        if kind == "embedding":
            return "embedding"
        # Where matrices lie one below the other (DBRX), another module cuts them apart, which PEFT doesn't see.
        if name in self.experts and (
            packed or (parameter.dim() == 3 and self._count_in(parameter, named=True))
        ):
            return "experts"
        if parameter_name in ("weight", "W_q") and (packed or is_plain_linear(module)):
            owner, _, last = name.rpartition(".")
            others = name in self.written or last in _read_layers(self.modules.get(owner))
            return "other" if others else "linear"
        if parameter_name == "weight" and isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return "convolution"
        return "other"

    def _kind(self, name: str, module: nn.Module) -> Kind:
        if (
            id(module) in self.heads
            or isinstance(module, nn.Embedding)
            or "Embedding" in type(module).__name__
        ):
            return "embedding"
        containing = [".".join(name.split(".")[: end + 1]) for end in range(name.count(".") + 1)]
        if any(part in self.experts for part in containing):
            return "experts"
        if self._is_router(name, module):
            return "router"
        # The innermost word counts: an MLP inside of an attention block is an MLP.
        for part in reversed(containing):
            owner = self.modules.get(part)
            words = f"{part.rpartition('.')[2]} {type(owner).__name__ if owner is not None else ''}".lower()
            for word, kind in WORDS.items():
                if word in words and part.count(".") > 0:
                    return kind
        return "other"

    def _experts_in(self, name: str, module: nn.Module) -> int:
        """The number of experts that share tensors of a module, 0 for a module without any."""
        if type(module).__module__.startswith("torch.nn."):
            return 0
        named = "expert" in f"{name} {type(module).__name__}".lower()
        counts = (self._count_in(parameter, named) for _, parameter in _own_parameters(module))
        return max(counts, default=0)

    def _count_in(self, parameter: torch.Tensor, named: bool) -> int:
        """Of how many experts a tensor holds a matrix each, in a dimension of their own or one below the other."""
        rows, known = int(parameter.shape[0]) if parameter.dim() else 0, self.expert_counts
        if parameter.dim() == 3 and min(parameter.shape[1:]) > 1:
            return rows if named or rows in known else 0
        most = max(known, default=0)
        return most if parameter.dim() == 2 and named and most and rows > most and rows % most == 0 else 0

    def _is_router(self, name: str, module: nn.Module) -> bool:
        """Whether a layer beside experts has a score for each of them."""
        for experts, count in self.experts.items():
            block = experts.rpartition(".")[0]
            if name.startswith(block + "."):
                parent = self.modules.get(name.rpartition(".")[0])
                weight = module._parameters.get("weight")
                scores = weight.shape[0] if weight is not None and weight.dim() == 2 else None
                classes = f"{type(module).__name__} {type(parent).__name__}".lower()
                return scores == count or "router" in classes
        return False


def _base_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of the base model: none of adapters, and what trains in place of an original."""
    adapters = ("lora_", "original_module", "parametrizations")
    for name, module in model.named_modules():
        if not any(part.startswith(adapters) for part in name.split(".")) and not hasattr(
            module, "base_layer"
        ):
            yield name, module


def _without_wrappers(name: str) -> str:
    parts = name.split(".")
    if "modules_to_save" in parts:
        place = parts.index("modules_to_save")
        parts = parts[:place] + parts[place + 2 :]
    return ".".join(part for part in parts if part != "base_layer")


def _own_parameters(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """A module's own parameters by name, those that a parametrization computes by the name they are used by."""
    yield from module.named_parameters(recurse=False)
    for name, parametrization in getattr(module, "parametrizations", {}).items():
        yield name, parametrization.original


def _expert_counts(config: Any) -> set[int]:
    """The numbers that a config and those in it have for experts, whatever they call them."""
    counts: set[int] = set()
    for name, value in vars(config.get_text_config()).items():
        if isinstance(value, int) and value > 1 and "expert" in name:
            counts.add(value)
        elif hasattr(value, "to_dict"):
            counts |= {
                n for key, n in vars(value).items() if isinstance(n, int) and n > 1 and "expert" in key
            }
    return counts
