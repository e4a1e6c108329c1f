"""A model's weights, each with what it is: in attention, an expert, a router; a linear layer's, or a tensor of several.

``weight_reader`` reads them from a model. This file doesn't import torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["attention", "mlp", "experts", "router", "embedding", "other"]
Form = Literal["linear", "experts", "embedding", "convolution", "other"]

DECODER_KINDS: tuple[Kind, ...] = ("attention", "mlp", "experts", "router", "other")


@dataclass(frozen=True)
class Weight:
    """A parameter of a model. ``module``: its owner's full name; ``name``: its own; ``count``: the weights in it.

    ``form``: ``linear`` for the matrix of a layer that multiplies by it and adds its bias; ``experts`` for the joint
    tensor (experts, rows, columns) of layers that share it; ``embedding``; ``convolution``; ``other``, such as norms
    and biases.
    """

    module: str
    name: str
    count: int
    kind: Kind
    form: Form
    matrix: bool = True  # whether it has two dimensions or more
    packed: bool = False  # whether it is quantized

    @property
    def full_name(self) -> str:
        return f"{self.module}.{self.name}" if self.module else self.name


@dataclass(frozen=True)
class ModelWeights:
    """The weights of a model, and the names (last parts) of modules that PEFT refuses to adapt in its family."""

    weights: tuple[Weight, ...]
    refused: tuple[str, ...] = ()

    @property
    def has_experts(self) -> bool:
        return any(weight.form == "experts" for weight in self.weights)


def decoder_share(weights: Iterable[Weight], part: Iterable[Weight]) -> float:
    """The share of a decoder's weights, from 0 to 1, that ``part`` holds; embeddings and heads don't count."""
    whole, inside = (sum(w.count for w in some if w.kind != "embedding") for some in (weights, part))
    return inside / whole if whole else 0.0
