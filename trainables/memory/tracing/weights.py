"""What becomes of the weights of a model whose step is traced: how many train, in which shapes, and how many do not.

Buffers (the random projections of some adapters, the masks of older models) are held like weights that don't train.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Literal

from torch import Tensor, nn

from trainables.config.optimizers import TrainedTensor
from trainables.memory.tracing.case import WeightSizes
from trainables.memory.tracing.stand_ins import QuantizedLinear


def shared_weights(layers: Sequence[nn.Module]) -> frozenset[int]:
    """The ids of the parameters that several of the ``layers`` have."""
    return _of_several(layer.parameters() for layer in layers)


def shared_tensors(layers: Sequence[nn.Module]) -> frozenset[int]:
    """The same of their parameters and buffers."""
    return _of_several(chain(layer.parameters(), layer.buffers()) for layer in layers)


def _of_several(tensors_by_layer: Iterable[Iterable[Tensor]]) -> frozenset[int]:
    owners = Counter(key for tensors in tensors_by_layer for key in {id(tensor) for tensor in tensors})
    return frozenset(key for key, count in owners.items() if count > 1)


def weight_sizes(module: nn.Module, but: Container[int] = ()) -> WeightSizes:
    """What becomes of a module's weights and buffers, each counted once, without those of the ids ``but``. The weights
    of adapters are those that PEFT added.
    """
    seen: dict[int, WeightSizes] = {
        id(buffer): WeightSizes(frozen_bytes=buffer.numel() * buffer.element_size())
        for buffer in module.buffers()
        if id(buffer) not in but
    }
    for each in module.modules():
        for name, parameter in each.named_parameters(recurse=False):
            if id(parameter) not in seen and id(parameter) not in but:
                seen[id(parameter)] = _weight_size(each, name, parameter)
    adapters = {
        id(p) for name, p in module.named_parameters() if "lora_" in name or "modules_to_save" in name
    }
    sizes = (
        replace(size, trained=0, adapters=size.trained) if key in adapters else size
        for key, size in seen.items()
    )
    return sum(sizes, WeightSizes())


def trained_tensors(causal: Any, module: nn.Module, but: Container[int] = ()) -> tuple[TrainedTensor, ...]:
    """The parameters of a ``module`` of a model that train, each once, without those of the ids ``but``."""
    parts: dict[int, Literal["embedding", "head"]] = {}
    if (head := causal.get_output_embeddings()) is not None:
        parts |= {id(parameter): "head" for parameter in head.parameters()}
    # A head that is the embedding is an embedding.
    parts |= {id(parameter): "embedding" for parameter in causal.get_input_embeddings().parameters()}
    return tuple(
        TrainedTensor(tuple(parameter.shape), part=parts.get(id(parameter), "layers"))
        for parameter in module.parameters()
        if parameter.requires_grad and id(parameter) not in but
    )


def _weight_size(module: nn.Module, name: str, parameter: nn.Parameter) -> WeightSizes:
    count = parameter.numel()
    if isinstance(module, QuantizedLinear) and name == "weight":
        return WeightSizes(quantized=count, quantized_outputs=parameter.shape[0])
    if parameter.requires_grad:
        return WeightSizes(trained=count)
    return WeightSizes(frozen=count, frozen_bytes=count * parameter.element_size())
