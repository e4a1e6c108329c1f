"""The change of the layers that train, between two steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import TrainerCallback

if TYPE_CHECKING:
    from trainables.methods.layerwise import LayerWise
    from trainables.models.precision import Dtypes


class LayerSwitch(TrainerCallback):
    """Before a step that begins another period: the layers whose turn it is train, and the state of others is dropped.

    The period is that of the step, and the layers come from the period and the ``seed``: a trial that is resumed trains
    the same ones.
    """

    def __init__(self, method: LayerWise, dtypes: Dtypes, seed: int) -> None:
        self.method, self.dtypes, self.seed = method, dtypes, seed
        self.period: int | None = None

    def on_step_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **kwargs: Any
    ) -> None:
        period = state.global_step // self.method.every
        if period == self.period:
            return
        self.period = period
        active = self.method.active_parameters(model, period, self.seed)
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        # Those that rest come first, so that both are never held in the trainable dtype.
        for parameter in model.parameters():
            if id(parameter) not in active:
                self._rest(parameter)
                inner.state.pop(parameter, None)
        for parameter in model.parameters():
            if id(parameter) in active:
                parameter.requires_grad_(True)
                parameter.data = parameter.data.to(self.dtypes.trainable)

    def _rest(self, parameter: nn.Parameter) -> None:
        parameter.grad = None
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(self.dtypes.frozen)
