"""The change of the layers that train, between two steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import TrainerCallback

from trainables.config.optimizers.unwrapped import unwrapped

if TYPE_CHECKING:
    from trainables.models.precision import Dtypes


class LayerSwitch(TrainerCallback):
    """Before a step that begins another period: the layers whose turn it is train, and the state of others is dropped.

    A period has ``every`` steps. ``active``: the ids of the parameters that train in a period, which depend on nothing
    else, so that a trial that is resumed trains the same ones.
    """

    def __init__(self, every: int, active: Callable[[nn.Module, int], set[int]], dtypes: Dtypes) -> None:
        self.every, self.active, self.dtypes = every, active, dtypes
        self.period: int | None = None

    def on_step_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **kwargs: Any
    ) -> None:
        period = state.global_step // self.every
        if period == self.period:
            return
        self.period = period
        active = self.active(model, period)
        inner = unwrapped(optimizer)
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
