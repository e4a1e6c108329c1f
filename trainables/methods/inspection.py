"""What an adapter method does to a model of a family with experts or states, found on a model without values.

Files tell names and sizes of tensors, and not which module owns one: a model's class does. It is asked only where the
files have other tensors than matrices and vectors, as that imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, Self

from trainables.methods.adapter_scope import within
from trainables.methods.adapter_targets import adapter_targets, refused_names
from trainables.methods.lora_targets import pattern_error
from trainables.methods.weight_shares import Shares, shares_of
from trainables.models.architecture.blueprint import blueprint

if TYPE_CHECKING:
    from trainables.models.architecture.model_weights import Weight
    from trainables.models.folder import Architecture
    from trainables.models.precision import Dtypes

SHOWN_LAYERS = 12


class AdapterMethod(Protocol):
    """What is read of a method that attaches adapters; ``methods.lora.LoRA`` says what each means."""

    @property
    def targets(self) -> str | tuple[str, ...]: ...
    @property
    def layers(self) -> Any: ...
    @property
    def exclude(self) -> tuple[str, ...]: ...
    @property
    def dora(self) -> bool: ...
    @property
    def dropout(self) -> float: ...
    @property
    def init(self) -> str: ...
    def attach_adapters(self, model: Any, dtypes: Dtypes) -> Any: ...
    def model_copy(self, *, update: dict[str, Any]) -> Self: ...


@dataclass(frozen=True)
class Inspection:
    """What is wrong with a method's settings, by the setting's name; the model's weights; the shares adapted."""

    problems: tuple[tuple[str, str], ...]
    weights: tuple[Weight, ...]
    shares: Shares


def inspect(method: AdapterMethod, architecture: Architecture) -> Inspection | None:
    """The inspection of a method and a model; ``None`` for a model of matrices alone, for one that only its own code
    can make, and for targets that can't be looked for.
    """
    if architecture.plain or not method.targets or pattern_error(method.targets, architecture):
        return None
    # What doesn't matter for it is left out, so that it is done once for all values of a search.
    same: Any = method.model_copy(
        update={"name": None, "rank": 1, "alpha": None, "dropout": float(method.dropout > 0)}
    )
    return _inspected(same, json.dumps(architecture.config))


@lru_cache(maxsize=64)
def _inspected(method: AdapterMethod, config: str) -> Inspection | None:
    from trainables.models.architecture.text_path import text_weights
    from trainables.models.precision import choose_dtypes

    model = blueprint(json.loads(config))
    if model is None:
        return None
    weights = text_weights(model)
    try:
        targets = within(method, adapter_targets(method.targets, weights, refused_names(model)), model)
    except ValueError as error:
        return Inspection((("targets", str(error)),), weights, {})
    owners = [*targets.modules, *(name.rpartition(".")[0] for name in targets.parameters)]
    refused = sorted({name.rpartition(".")[2] for name in owners} & set(refused_names(model)))
    if refused:
        what = (
            f"PEFT puts no adapter on {', '.join(refused)} in models of type {model.config.model_type}, whose kernels "
            "read the weight without calling the layer; leave it out, or use all-linear, which does"
        )
        return Inspection((("targets", what),), weights, {})
    adapts_experts = any(weight.full_name in targets.parameters for weight in weights)
    if problems := tuple(_settings_problems(method, weights, adapts_experts)):
        return Inspection(problems, weights, {})
    # Without values there is nothing to take an adapter's start out of.
    plain = method.model_copy(update={"init": "default", "dropout": 0.0, "modules_to_save": ()})
    try:
        policy = plain.attach_adapters(model, choose_dtypes("fp32", "float32"))
    except ValueError as error:  # PEFT's own words
        return Inspection((("targets", str(error)),), weights, {})
    return Inspection((), weights, shares_of(policy))


def _settings_problems(
    method: AdapterMethod, weights: tuple[Weight, ...], adapts_experts: bool
) -> Iterator[tuple[str, str]]:
    """Settings that PEFT has for layers alone, in a method that adapts tensors that experts share."""
    if not adapts_experts:
        return
    names = sorted(
        {w.module.rpartition(".")[2] for w in weights if w.form == "linear" and w.kind == "attention"}
    )
    instead = f"name linear layers alone (targets: [{', '.join(names[:SHOWN_LAYERS])}])"
    why = "the model's experts share their tensors, and PEFT"
    if method.dora:
        yield "dora", f"{why} has no DoRA for these; leave dora out, or {instead}"
    if method.dropout:
        yield "dropout", f"{why} has no dropout for adapters of these; use dropout: 0, or {instead}"
    if method.init == "eva":
        yield "init", f"{why} has no inputs of single ones; use init: default, or {instead}"
    if method.init in ("pissa", "olora"):
        yield "init", f"{why} can't take an adapter's start out of these; use init: default, or {instead}"


def unknown_names(method: AdapterMethod, inspection: Inspection) -> list[str]:
    """The names in ``targets`` that nothing in the model has."""
    names = () if isinstance(method.targets, str) else method.targets
    return [name for name in names if not _is_known(name, inspection.weights)]


def _is_known(name: str, weights: Iterable[Weight]) -> bool:
    try:
        targets = adapter_targets((name,), weights)
    except ValueError:  # one of two layers that were joined
        return True
    return bool(targets.modules or targets.parameters)


def quantizable(weights: Iterable[Weight]) -> tuple[Weight, ...]:
    """The weights as they are once all linear layers are quantized."""
    return tuple(replace(w, packed=w.form == "linear" and w.kind != "router") for w in weights)
