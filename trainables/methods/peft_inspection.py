"""What PEFT says against an adapter's options for a model, found on the model without values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn


class AttachedAdapter(Protocol):
    """What is read of a method; ``methods.peft_adapter.PeftAdapter`` says what each means."""

    @property
    def type(self) -> str: ...
    def model_dump_json(self) -> str: ...
    def attach_adapters(self, model: Any) -> Any: ...


@dataclass(frozen=True)
class Attached:
    """What PEFT says against a method's options for a model, by the setting. ``without_bias``: of the type that adapts
    biases, the first module with an adapter that has none.
    """

    problems: tuple[tuple[str, str], ...] = ()
    without_bias: str | None = None


def attach_to_blueprint(method: AttachedAdapter, config: str, biases_alone: str) -> Attached:
    """What PEFT says of a ``method`` on a model with this ``config.json``; the type ``biases_alone`` adapts biases."""
    return _attached(type(method), method.model_dump_json(), config, biases_alone)


@lru_cache(maxsize=256)
def _attached(cls: Any, method: str, config: str, biases_alone: str) -> Attached:
    """Attaches the adapters to a model without values: block sizes, for one, have to divide those of its layers."""
    import torch

    from trainables.models.architecture.blueprint import blueprint

    adapter = cls.model_validate_json(method)
    model = blueprint(json.loads(config))
    if model is None:
        return Attached()
    try:
        with torch.device("meta"):
            policy = adapter.attach_adapters(model)
            return Attached(without_bias=_without_bias(policy) if adapter.type == biases_alone else None)
    except (ValueError, TypeError, AssertionError, ArithmeticError, LookupError, AttributeError) as error:
        return Attached((("type", f"PEFT refuses these options for this model: {_first_line(error)}"),))
    except RuntimeError:
        # It computes its start from the base's values, which are not there: NotImplementedError, too, of tensors
        # without values. A trial attaches it to real ones, and says what fails then.
        return Attached()


def _without_bias(model: nn.Module) -> str | None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
    return next((name for name, layer in layers.items() if layer.get_base_layer().bias is None), None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
