"""A policy: a loaded model with its tokenizer, and the device that it is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerBase,
)

from trainables.methods import Method
from trainables.models.precision import Dtypes


@dataclass(frozen=True)
class Policy:
    """``method`` is ``None`` for the base model as it comes."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    method: Method | None
    dtypes: Dtypes
    device: str
    blueprint: Any = None  # the model without its weights, where the workers share these

    @property
    def causal(self) -> Any:
        """The causal model itself, adapters in place, under whichever head, without PEFT's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """No gradients, no dropout, and the weights in the dtype they are kept in once trained.

        So what is scored is what is saved. A trainer's own changes to the forward pass (autocast, a loss in
        chunks) stay out of it. All of it comes back afterwards.
        """
        training = self.model.training
        masters = {p: p.data for p in self.model.parameters() if p.requires_grad}
        wrapped = {module: module.__dict__.pop("forward", None) for module in {self.model, self.causal}}
        self.model.eval()
        try:
            for parameter, master in masters.items():
                parameter.data = master.to(self.dtypes.frozen)
            with torch.no_grad():
                yield
        finally:
            for parameter, master in masters.items():
                parameter.data = master
            for module, forward in wrapped.items():
                if forward is not None:
                    module.forward = forward
            self.model.train(training)


def device() -> str:
    """``cuda`` where torch sees one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
