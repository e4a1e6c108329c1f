"""The options of PEFT's adapter types, read from the installed PEFT's own config classes.

PEFT imports torch, so that this is asked only for specs that name such a type.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from trainables.config import limits
from trainables.methods import adalora
from trainables.system.suggestions import did_you_mean, hinted

# Types that put virtual tokens before each row.
VIRTUAL_TOKENS = frozenset({"p_tuning", "prefix_tuning", "prompt_tuning"})
ALONE_ON_A_MODEL = VIRTUAL_TOKENS | {"adaption_prompt"}  # of which no two adapters are on one model
TRAINED_ALONE = frozenset({adalora.NAME})  # of which no copy may be on a model beside the one that trains
# Types that can't be a method here, and why. All others of the installed PEFT can.
REFUSED = {
    "cartridge": "it begins with a text whose keys and values have to be computed before; take prefix_tuning",
    "cpt": "it needs the tokens of its context, and a loss of its own; take prompt_tuning",
    "osf": "a trial that is resumed doesn't learn exactly what it would have: PEFT decomposes the base's weights anew",
    "lora": "it is a method of its own, with all settings of PEFT's that can be compared: {kind: lora}",
    "mixed": "it is a mixture of other adapters, which have to be trained before",
    "multitask_prompt_tuning": "it needs the number of the task that each row belongs to, which data files don't have "
    "here; take prompt_tuning",
    "poly": "it needs the number of the task that each row belongs to, which data files don't have here",
    "shadow": "it needs a second, smaller model",
    "xlora": "it needs adapters that are trained already",
}
# Types whose adapters can't be merged into any model, and why.
NOT_MERGED = {
    **{
        kind: f"{kind} puts virtual tokens before each text, and changes no weights"
        for kind in sorted(VIRTUAL_TOKENS)
    },
    "adaption_prompt": "adaption_prompt adds to what attention gives, and changes no weights",
    "lily": "PEFT has no merged form of lily",
}
_BY_TEXT = (
    "with it, PEFT reads a tokenizer from a path of its own, which is neither checked nor that of the model"
)
# Options without which PEFT's config class is of no use, with an example.
NEEDED_OPTIONS = {"adaption_prompt": {"adapter_len": 10, "adapter_layers": 8}}
# Options that can't be set here, and values of others, with the reason.
REFUSED_OPTIONS = {
    adalora.NAME: {
        "total_step": "it is the number of the trial's own steps; leave it out",
        "rank_pattern": "it is what training finds; leave it out",
        "r": "PEFT does not use it; write init_r and target_r",
    },
    "prompt_tuning": dict.fromkeys(
        ("prompt_tuning_init_text", "tokenizer_kwargs", "tokenizer_name_or_path"),
        f"it belongs to prompt_tuning_init: TEXT: {_BY_TEXT}; leave it out",
    ),
}
REFUSED_VALUES = {
    ("prompt_tuning", "prompt_tuning_init", "TEXT"): f"{_BY_TEXT}; write RANDOM (the default) or SAMPLE_VOCAB"
}
# What a method sets itself, or what says nothing about the training.
OWN_SETTINGS = frozenset(
    {
        *("peft_type", "task_type", "inference_mode", "auto_mapping", "base_model_name_or_path", "revision"),
        *("peft_version", "target_modules", "progressbar"),
    }
)
# Types whose adapters do beside a base in so many bits of bitsandbytes what they do beside its unpacked weights: PEFT
# has layers for it, or never reads the base's weights. Others fail, or compute with packed weights, which is wrong.
_WITH_LAYERS = {"adalora", "adaption_prompt", "hira", "ia3", "oft", "pvera", "randlora", "road", "vera"}
_BESIDE_OUTPUTS = {
    "beft",
    "boft",
    "c3a",
    "fourierft",
    "gralora",
    "lily",
    "miss",
    "shira",
    "unilora",
    "vblora",
    "waveft",
}
_BESIDE_ANY_BASE = VIRTUAL_TOKENS | _WITH_LAYERS | _BESIDE_OUTPUTS | {"ln_tuning", "trainable_tokens"}
# Types whose layers beside a base in 8 bits multiply inputs in 32 bits with adapters in 16, when a model is scored.
NOT_IN_16_BITS = frozenset({"adalora", "hira", "shira"})
ON_QUANTIZED: dict[int, frozenset[str]] = {
    4: _BESIDE_ANY_BASE,
    8: (_BESIDE_ANY_BASE | {"deft", "loha", "lokr"}) - NOT_IN_16_BITS,
}
RANKS = frozenset({"r", "init_r", "target_r", "hybrid_r", "effective_rank", "subspace_rank", "mini_r"})
MAX_NUMBER = 2**32


def known_types() -> list[str]:
    """The types of the installed PEFT by their names in specs, those that are refused among them."""
    return sorted(kind.value.lower() for kind in _config_classes())


def type_problem(name: str) -> str | None:
    """Why a type can't be a method; ``None`` for one that can."""
    if name in REFUSED:
        return f"{name} can't be trained here: {REFUSED[name]}"
    usable = [each for each in known_types() if each not in REFUSED]
    if name in usable:
        return None
    what = f"the installed PEFT has no type {name}"
    return hinted(what, did_you_mean(name, usable), f"it has {', '.join(usable)}")


def bits_problem(name: str, bits: int) -> str | None:
    """Why a type's base can't be held in ``bits``; ``None`` where it can."""
    if name in ON_QUANTIZED[bits]:
        return None
    others = ", ".join(sorted(ON_QUANTIZED[bits]))
    if name in NOT_IN_16_BITS:
        what = f"PEFT's layers of {name} for a base in {bits} bits can't be scored in 16 bits; take bits: 4"
        return f"{what}, leave bits out, or take a type that can: {others}"
    return f"PEFT has no layers of {name} for a base in {bits} bits; leave bits out, or take a type that has: {others}"


def head_obstacle(name: str) -> str | None:
    """Why a new head for texts can't be trained beside a type's adapters; ``None`` where PEFT trains and saves it."""
    if name not in known_types():
        return None  # which is said elsewhere
    if any(field.name == "modules_to_save" for field in dataclasses.fields(config_class(name))):
        return None
    return f"PEFT neither trains nor saves a new head for rewards or labels beside {name}; take another type, or lora"


def config_class(name: str) -> Any:
    """PEFT's config class of a type. Raises ``KeyError`` for an unknown one."""
    return {kind.value.lower(): cls for kind, cls in _config_classes().items()}[name]


def option_names(name: str) -> list[str]:
    """The options of a type that a spec can set."""
    fields = (field.name for field in dataclasses.fields(config_class(name)) if field.init)
    left_out = OWN_SETTINGS | REFUSED_OPTIONS.get(name, {}).keys()
    names = sorted(each for each in fields if each not in left_out and not each.startswith("_"))
    # The class inherits all of LoRA's options, most of which AdaLoRA has no use for.
    return [each for each in names if each in adalora.USED] if name == adalora.NAME else names


def option_problems(name: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(option, what is wrong with it) for a type that is known."""
    known = option_names(name)
    for option, value in options.items():
        if option == "target_modules":
            yield option, "write targets: the modules with an adapter, as for lora"
        elif option in (refused := REFUSED_OPTIONS.get(name, {})):
            yield option, f"{option} can't be set here: {refused[option]}"
        elif option not in known:
            what = f"{name} has no option {option}"
            yield option, hinted(what, did_you_mean(option, known), f"it has {', '.join(known)}")
        elif (problem := _value_problem(name, option, value)) is not None:
            yield option, problem


def missing_options(name: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(option, what is wrong) for each option that a type needs and that isn't there."""
    for option, example in NEEDED_OPTIONS.get(name, {}).items():
        if options.get(option) is None:
            yield option, f"{name} needs it, such as {option}: {example}"


def _value_problem(name: str, option: str, value: Any) -> str | None:
    limit = limits.RANK if option in RANKS else MAX_NUMBER
    if isinstance(value, int | float) and not abs(value) <= limit:  # NaN, too
        return f"got {value}; the maximum is {limit:,}" if math.isfinite(value) else "give a finite number"
    if (refused := REFUSED_VALUES.get((name, option, str(value).upper()))) is not None:
        return f"{value} can't be used here: {refused}"
    validator = _validator(name, option)
    if validator is None:
        return None
    try:
        # As in JSON, a whole number is a float, and a list stands for a set or a tuple.
        validator.validate_python(value)
    except ValidationError as error:
        allowed = "; ".join(dict.fromkeys(each["msg"] for each in error.errors(include_url=False)))
        return f"got {value!r}: {allowed}"
    return None


@cache
def _validator(name: str, option: str) -> TypeAdapter[Any] | None:
    """What checks an option's value by its declared type; ``None`` for a type that can't be checked."""
    cls = config_class(name)
    try:
        return TypeAdapter(typing.get_type_hints(cls)[option])
    except (NameError, TypeError, KeyError, PydanticSchemaGenerationError):
        return None


@cache
def _config_classes() -> dict[Any, Any]:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    return dict(PEFT_TYPE_TO_CONFIG_MAPPING)
