"""Freeze tuning: some decoder layers and named modules train; the rest is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from trainables.methods.base import TrainsModel, cast_trainable
from trainables.methods.footprint import Footprint

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.folder import Architecture
    from trainables.models.precision import Dtypes


class Freeze(TrainsModel):
    """``layers`` decoder layers train, counted from ``end``, and the named ``modules``; ``head`` adds the head.

    With tied embeddings the head is the embedding, so ``head: true`` trains both. A head for rewards or labels always
    trains.
    """

    kind: Literal["freeze"] = "freeze"
    layers: int = Field(default=2, ge=0)
    end: Literal["last", "first"] = "last"
    modules: tuple[str, ...] = ()
    head: bool = False

    prior: ClassVar[dict[str, Any]] = {"train.learning_rate": 5e-4}

    @model_validator(mode="after")
    def _something_trains(self) -> Freeze:
        if not (self.layers or self.modules or self.head):
            raise ValueError("nothing would train: give layers, modules or head")
        return self

    def without_effect(self) -> Iterator[tuple[str, str]]:
        if not self.layers:
            yield "end", "layers is 0"

    def problems(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        if self.layers > architecture.layers:
            yield "layers", f"the model has {architecture.layers} layers, so {self.layers} can't train"
        for name in self.modules:
            if not architecture.has_part(name):
                yield (
                    "modules",
                    f"no module {name!r} in the model; it has {', '.join(architecture.module_names)}",
                )

    def footprint(self, shape: DecoderShape) -> Footprint:
        from trainables.models.architecture.decoder_shape import MemoryNotPredictable

        if self.modules:
            raise MemoryNotPredictable(f"{', '.join(self.modules)} that train can't be predicted yet")
        head = self.head and shape.outputs is None  # a new head isn't the embedding
        return Footprint(
            trained_layers=min(self.layers, shape.layers),
            first_layers=self.end == "first",
            embedding=head and shape.tied,
            head=head,
        )

    def attach(self, model: nn.Module, dtypes: Dtypes, begun: Path | None = None) -> nn.Module:
        model.requires_grad_(False)
        for module in self._trained(model):
            module.requires_grad_(True)
        cast_trainable(model, dtypes.trainable)
        return model

    def _trained(self, model: Any) -> Iterator[nn.Module]:
        from trainables.models.architecture.decoder_layers import decoder_layers
        from trainables.models.architecture.text_head import encoder_head, text_head

        layers = decoder_layers(model)
        if self.layers:
            yield from layers[-self.layers :] if self.end == "last" else layers[: self.layers]
        if head := text_head(model):
            yield from head.values()
        elif self.head:
            # An encoder's head for masked tokens transforms hidden states first.
            yield from encoder_head(model).values() or (model.get_output_embeddings(),)
        for name, module in model.named_modules():
            if any(name == suffix or name.endswith("." + suffix) for suffix in self.modules):
                yield module
