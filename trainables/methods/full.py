"""Full fine-tuning: every weight trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trainables.methods.base import TrainsModel, cast_trainable
from trainables.methods.footprint import Footprint

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.precision import Dtypes


class Full(TrainsModel):
    """All weights train, so the base is loaded in the dtype of trainable weights."""

    kind: Literal["full"] = "full"

    prior: ClassVar[dict[str, Any]] = {"train.learning_rate": 2e-4}

    def footprint(self, shape: DecoderShape) -> Footprint:
        return Footprint(trained_layers=shape.layers, embedding=True, head=True, last_norm=True)

    def load_dtype(self, dtypes: Dtypes) -> torch.dtype:
        return dtypes.trainable

    def attach(self, model: nn.Module, dtypes: Dtypes, begun: Path | None = None) -> nn.Module:
        model.requires_grad_(True)
        cast_trainable(model, dtypes.trainable)
        return model
