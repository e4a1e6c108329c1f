"""What LoRA's ``targets`` stand for in a loaded model, or in one without values: linear layers by their full names, and
the tensors that experts share, as PEFT's ``target_modules`` and ``target_parameters``.

``all-linear`` is every linear layer but the head, and every expert. Routers get no adapter: they choose the experts,
and recipes for mixtures of experts leave them as they are. A list or a pattern can name one.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.methods.lora_targets import ALL_LINEAR
from trainables.models.adapter_config import FILE_NAME, read_adapter_config
from trainables.models.folder import ends_in

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.models.architecture.model_weights import Weight

# The names that layers had before transformers joined them, by that of the tensor; each group is all of it.
JOINED_IN: dict[str, tuple[tuple[str, ...], ...]] = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "down_proj": (("w2",),),
}
ADAPTED_MODULES = ("linear", "embedding", "convolution")  # forms that PEFT adapts as modules


@dataclass(frozen=True)
class AdapterTargets:
    """Full names of ``modules`` with an adapter, and of ``parameters`` with one of their own."""

    modules: tuple[str, ...]
    parameters: tuple[str, ...] = ()

    def adapts(self, weight: Weight) -> bool:
        return weight.full_name in self.parameters or (
            weight.module in self.modules and weight.form in ADAPTED_MODULES
        )


def adapter_targets(
    targets: str | Sequence[str], weights: Iterable[Weight], refused: Iterable[str] = ()
) -> AdapterTargets:
    """What ``targets`` stand for among a model's weights. ``all-linear`` leaves out the modules named in ``refused``.

    Raises ``ValueError`` for one of two layers that the model's experts have as one tensor.
    """
    if targets == ALL_LINEAR:
        chosen = [
            w for w in weights if w.kind not in ("router", "embedding") and w.form in ("linear", "experts")
        ]
        chosen = [w for w in chosen if w.module.rpartition(".")[2] not in refused]
    else:
        chosen = [w for w in weights if w.matrix and _is_meant(w, targets)]
    modules = dict.fromkeys(w.module for w in chosen if w.form in ADAPTED_MODULES)
    parameters = [w.full_name for w in chosen if w.form not in ADAPTED_MODULES]
    return AdapterTargets(tuple(modules), tuple(parameters))


def _is_meant(weight: Weight, targets: str | Sequence[str]) -> bool:
    """Whether a pattern matches a weight's module, or a name is its end; or the weight's own full name."""
    names = [weight.module, weight.full_name] if weight.form not in ADAPTED_MODULES else [weight.module]
    if any(_names(targets, name) for name in names):
        return True
    joined = JOINED_IN.get(weight.name, ()) if weight.form == "experts" else ()
    return any(_all_named(weight.module, layers, targets) for layers in joined)


def _names(targets: str | Sequence[str], name: str) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(ends_in(name, target) for target in targets)


def _all_named(experts: str, layers: Sequence[str], targets: str | Sequence[str]) -> bool:
    """Whether all ``layers`` that are one tensor are named. Raises ``ValueError`` where only some are."""
    named = [layer for layer in layers if _names(targets, f"{experts}.{layer}")]
    if named and len(named) < len(layers):
        (other,) = set(layers) - set(named)
        raise ValueError(
            f"{named[0]} is one tensor with {other} in this model's experts; name both of them, or neither"
        )
    return bool(named)


def refused_names(model: Any) -> tuple[str, ...]:
    """The last parts of names of linear layers that PEFT refuses to adapt in a model of this type: those that its
    kernels read the weight of without calling them.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    config: Any = LoraConfig()
    unused: Any = None  # it is a method that needs no object
    refused = []
    for name in sorted(names):
        try:
            LoraModel._check_target_module_compatiblity(unused, config, model, name)
        except ValueError:
            refused.append(name)
    return tuple(refused)


def lasting_targets(targets: AdapterTargets, config: Any, model: Any) -> AdapterTargets:
    """The same targets in the form that PEFT leaves as it is.

    In some families of experts PEFT takes names such as ``gate_proj`` for those of the experts' layers, which earlier
    versions of transformers had, and drops the linear layers (shared experts, dense first layers) of that name, also
    when it loads an adapter. As parameters they stay.
    """
    # PEFT judges a name by its end.
    ends = {name: name.rpartition(".")[2] for name in targets.modules}
    stays = {end: _stays(end, config, model) for end in set(ends.values())}
    dropped = {name for name, end in ends.items() if not stays[end]}
    kept = tuple(name for name in targets.modules if name not in dropped)
    moved = tuple(f"{name}.weight" for name in targets.modules if name in dropped)
    return AdapterTargets(kept, targets.parameters + moved)


def _stays(name: str, config: Any, model: Any) -> bool:
    """Whether PEFT keeps the name of a module to adapt."""
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    alone = copy.copy(config)
    alone.target_modules, alone.target_parameters = {name}, None
    alone.rank_pattern, alone.alpha_pattern = {}, {}
    try:
        convert_peft_config_for_transformers(alone, model, None)
    except ValueError:  # it wants the layer that this one was joined with
        return False
    return name in alone.target_modules


def lost_modules(policy: Any) -> set[str]:
    """Full names of adapted modules whose adapter PEFT would not find in its own file: it renames what it reads as the
    model's checkpoints are renamed, which hits a few families' layers by mistake.
    """
    import torch
    from peft import get_peft_model_state_dict
    from peft.utils.transformers_weight_conversion import convert_peft_adapter_state_dict_for_transformers

    names = list(get_peft_model_state_dict(policy))
    (adapter,) = policy.active_adapters
    found = convert_peft_adapter_state_dict_for_transformers(
        policy, policy.peft_config[adapter], {name: torch.zeros(1, 1) for name in names}, adapter
    )
    return {base_name(name.partition(".lora_")[0]) for name in names if name not in found}


def without(config: Any, policy: Any, modules: set[str]) -> Any:
    """A ``LoraConfig`` for all modules and parameters that ``policy`` adapts but these modules."""
    smaller = copy.copy(config)
    layers = dict(adapter_layers(policy))
    kept = {name: layer for name, layer in layers.items() if name.rpartition(".")[0] not in modules}
    parameters = [name for name, layer in kept.items() if hasattr(layer, "parameter_name")]
    smaller.target_modules = {name.rpartition(".")[0] for name in kept if name not in parameters}
    smaller.target_parameters = parameters or None
    return smaller


def adapter_layers(policy: Any) -> Iterator[tuple[str, Any]]:
    """PEFT's layers by the full name of the weight in the base model that each adapts."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in policy.named_modules():
        if isinstance(module, BaseTunerLayer):
            yield f"{base_name(name)}.{getattr(module, 'parameter_name', 'weight')}", module


def base_name(name: str) -> str:
    """A module's full name in the base model, by that in the model with adapters."""
    return ".".join(
        part for part in name.removeprefix("base_model.model.").split(".") if part != "base_layer"
    )


def take_targets(config: Any, checkpoint: Path) -> None:
    """Gives a ``LoraConfig`` the targets of the adapter in a checkpoint.

    An earlier version may have begun the trial, and adapted other layers of the same model.
    """
    if not (checkpoint / FILE_NAME).exists():
        return
    begun = read_adapter_config(checkpoint)
    for name in ("target_modules", "target_parameters", "rank_pattern", "alpha_pattern"):
        value = begun.get(name)
        setattr(config, name, set(value) if name == "target_modules" and isinstance(value, list) else value)
