"""LoRA's settings that narrow its targets down, ``layers`` and ``exclude``, and ``alpha`` as a multiple of the rank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field, model_validator

from trainables.config.base import Frozen
from trainables.methods import lora_targets
from trainables.methods.adapter_targets import AdapterTargets
from trainables.system.suggestions import did_you_mean, hinted

if TYPE_CHECKING:
    from trainables.models.folder import Architecture

TIMES_RANK = "times_rank"


class EndLayers(Frozen):
    """The ``first`` or the ``last`` so many decoder layers."""

    first: int | None = Field(default=None, ge=1)
    last: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_end(self) -> EndLayers:
        if (self.first is None) == (self.last is None):
            raise ValueError("give exactly one of first and last, such as {last: 8}")
        return self


class ScopedMethod(Protocol):
    """What is read of a method; ``methods.lora.LoRA`` says what each setting means."""

    @property
    def targets(self) -> str | tuple[str, ...]: ...
    @property
    def layers(self) -> tuple[int, ...] | EndLayers | None: ...
    @property
    def exclude(self) -> tuple[str, ...]: ...


def alpha_of_rank(value: Any, rank: int | None) -> Any:
    """``{times_rank: factor}`` as a number; any other value as it is. ``rank`` is ``None`` where it is invalid itself.

    >>> alpha_of_rank({"times_rank": 2}, 8)
    16.0
    """
    if not isinstance(value, dict):
        return value
    factor = value.get(TIMES_RANK)
    if set(value) != {TIMES_RANK} or isinstance(factor, bool) or not isinstance(factor, int | float):
        raise ValueError("write a number, or {times_rank: 2} for twice the rank")
    return float(factor * (rank or 1))


def within(method: ScopedMethod, targets: AdapterTargets, model: Any) -> AdapterTargets:
    """The ``targets`` in a loaded model that ``layers`` and ``exclude`` leave."""
    if method.layers is None and not method.exclude:
        return targets
    numbers = _numbers(method.layers, model.config.get_text_config().num_hidden_layers)

    def stays(name: str) -> bool:
        return _in_layers(name, numbers) and not lora_targets.is_within(name, method.exclude)

    return AdapterTargets(
        tuple(name for name in targets.modules if stays(name)),
        tuple(name for name in targets.parameters if stays(name)),
    )


def problems(method: ScopedMethod, architecture: Architecture) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong with it) in a model."""
    count, wrong = architecture.layers, False
    if (what := _layers_problem(method.layers, count)) is not None:
        wrong = True
        yield "layers", what
    for name in method.exclude:
        if not architecture.has_part(name):
            wrong = True
            known = architecture.module_names
            what = f"no module {name!r} in the model"
            yield "exclude", hinted(what, did_you_mean(name, known), f"it has {', '.join(known)}")
    if wrong or not architecture.plain or lora_targets.pattern_error(method.targets, architecture):
        return
    named = lora_targets.targeted(method.targets, architecture)
    inside = [name for name in named if _in_layers(name, _numbers(method.layers, count))]
    if named and not inside:
        yield "layers", "none of the targets is in these layers, so that nothing would get an adapter"
    for name in method.exclude if inside else ():
        if not any(lora_targets.is_within(module, (name,)) for module in inside):
            yield "exclude", f"{name} would get no adapter anyway; leave it out"
    if inside and all(lora_targets.is_within(module, method.exclude) for module in inside):
        yield "exclude", "all targets are excluded, so that nothing would get an adapter"


def _layers_problem(layers: tuple[int, ...] | EndLayers | None, count: int) -> str | None:
    if isinstance(layers, EndLayers):
        wanted = layers.first or layers.last or 0
        what = f"the model has {count} layers, so {wanted} can't be adapted"
        return what if wanted > count else None
    if layers is None:
        return None
    if not layers:
        return "the list is empty, so that nothing would get an adapter; leave it out for all layers"
    if beyond := [number for number in layers if number >= count]:
        return f"the model's layers are numbered 0 to {count - 1}; it has no layer {beyond[0]}"
    return None


def _numbers(layers: tuple[int, ...] | EndLayers | None, count: int) -> frozenset[int] | None:
    """The numbers of the adapted layers of ``count``; ``None`` for all modules, those outside of layers too."""
    if isinstance(layers, EndLayers):
        return frozenset(range(layers.first) if layers.first else range(count - (layers.last or 0), count))
    return None if layers is None else frozenset(layers)


def _in_layers(name: str, numbers: frozenset[int] | None) -> bool:
    """Whether a module belongs to one of the layers; the first number in its full name is its layer's."""
    if numbers is None:
        return True
    layer = next((part for part in name.split(".") if part.isdigit()), None)
    return layer is not None and int(layer) in numbers
