"""What methods share that train all weights, but a few layers at a time.

Layers that don't train are held in the dtype of frozen weights, have neither gradients nor an optimizer state, and get
both anew when their turn comes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from trainables.methods.base import TrainsModel, cast_trainable
from trainables.methods.footprint import Footprint
from trainables.models.architecture.text_head import text_head

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.folder import Architecture
    from trainables.models.precision import Dtypes


@dataclass(frozen=True)
class Period:
    """What trains together: the decoder layers at these places, and the ``ends`` (embeddings, last norm and head)."""

    layers: tuple[int, ...]
    ends: bool

    def footprint(self) -> Footprint:
        ends = self.ends
        first = 0 in self.layers
        return Footprint(len(self.layers), first_layers=first, embedding=ends, head=ends, last_norm=ends)


class LayerWise(TrainsModel):
    """``layers`` decoder layers train at a time, others ``every`` so many steps."""

    layers: int = Field(default=1, ge=1)
    every: int = Field(default=100, ge=1)

    prior: ClassVar[dict[str, Any]] = {"train.learning_rate": 2e-4}
    sharding_obstacle: ClassVar[str | None] = "which weights train changes during training"
    workers_obstacle: ClassVar[str | None] = sharding_obstacle
    compile_obstacle: ClassVar[str | None] = "which weights train changes during training"

    @abstractmethod
    def active_layers(self, count: int, period: int, seed: int) -> list[int]:
        """The places of the layers that train in a ``period``, out of ``count``; counted from 0."""

    @abstractmethod
    def ends_train(self, count: int, period: int) -> bool:
        """Whether embeddings, the last norm and the head train in a ``period``, too."""

    @abstractmethod
    def heavy_periods(self, count: int) -> list[Period]:
        """Those periods of a model with ``count`` layers of which one takes the most memory."""

    @property
    @abstractmethod
    def trains_ends(self) -> bool:
        """Whether embeddings, the last norm and the head ever train."""

    def problems(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        if self.layers > architecture.layers:
            yield "layers", f"the model has {architecture.layers} layers, so {self.layers} can't train"

    def footprint(self, shape: DecoderShape) -> Footprint:
        periods = (period.footprint() for period in self.heavy_periods(shape.layers))
        return max(periods, key=lambda footprint: footprint.trained_params(shape))

    def footprint_over_time(self, shape: DecoderShape) -> Footprint:
        return Period(tuple(range(shape.layers)), self.trains_ends).footprint()

    def train_heaviest(self, model: nn.Module, dtypes: Dtypes) -> None:
        """Has those weights train that do in the period of the most memory, and no others."""
        heaviest = self._heaviest_parameters(model)
        model.requires_grad_(False)
        for parameter in heaviest:
            parameter.requires_grad_(True)
        cast_trainable(model, dtypes.trainable)

    def _heaviest_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """Those that train in the period of the most memory."""
        layers, ends = parts(model)
        periods = (
            [
                *(p for place in period.layers for p in layers[place]),
                *(ends if period.ends else always(model)),
            ]
            for period in self.heavy_periods(len(layers))
        )
        return max(periods, key=lambda parameters: sum(each.numel() for each in parameters))

    def attach(self, model: nn.Module, dtypes: Dtypes, begun: Path | None = None) -> nn.Module:
        # All that ever trains has a gradient here, so that it gets a place in the optimizer.
        layers, ends = parts(model)
        model.requires_grad_(False)
        for parameter in [
            *(p for layer in layers for p in layer),
            *(ends if self.trains_ends else always(model)),
        ]:
            parameter.requires_grad_(True)
        if begun is None:
            return model
        # The checkpoint's weights are copied into these tensors, so those that trained need their dtype at once.
        trained = names_in_dtype(begun, dtypes.trainable)
        for name, parameter in model.named_parameters():
            if name in trained:
                parameter.data = parameter.data.to(dtypes.trainable)
        return model

    def callbacks(self, model: nn.Module, dtypes: Dtypes, seed: int) -> list[Any]:
        from trainables.methods.layer_switch import LayerSwitch

        return [LayerSwitch(self.every, partial(self.active_parameters, seed=seed), dtypes)]

    def heaviest_callbacks(self, model: nn.Module, dtypes: Dtypes, seed: int) -> list[Any]:
        from trainables.methods.layer_switch import LayerSwitch

        heaviest = {id(parameter) for parameter in self._heaviest_parameters(model)}
        return [LayerSwitch(self.every, lambda model, period: heaviest, dtypes)]

    def active_parameters(self, model: nn.Module, period: int, seed: int) -> set[int]:
        """The ids of the parameters that train in a ``period``."""
        layers, ends = parts(model)
        active = [p for place in self.active_layers(len(layers), period, seed) for p in layers[place]]
        active += ends if self.ends_train(len(layers), period) else []
        return {id(parameter) for parameter in (*active, *always(model))}


def parts(model: nn.Module) -> tuple[list[list[nn.Parameter]], list[nn.Parameter]]:
    """The parameters of each decoder layer, and all others."""
    from trainables.models.architecture.decoder_layers import decoder_layers

    layers = [list(layer.parameters()) for layer in decoder_layers(model)]
    inside = {id(parameter) for layer in layers for parameter in layer}
    return layers, [parameter for parameter in model.parameters() if id(parameter) not in inside]


def always(model: nn.Module) -> Iterable[nn.Parameter]:
    """Those of a head for texts: it may be new in every trial."""
    return [parameter for module in text_head(model).values() for parameter in module.parameters()]


def names_in_dtype(checkpoint: Path, dtype: torch.dtype) -> set[str]:
    """The names of the weights that a checkpoint holds in a dtype."""
    import torch
    from safetensors import safe_open

    names: set[str] = set()
    written = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}[dtype]
    for path in checkpoint.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names |= {name for name in file.keys() if file.get_slice(name).get_dtype() == written}  # noqa: SIM118
    return names
