"""Tiny models of every family of causal language models that transformers has, with random weights.

A family's config class says which of the usual sizes it has, and which configs are within it; the few that need more
are in ``SPECIAL``. Families that the library gains are there by themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.helpers.family_sizes import LAYERS, OTHER_SIZES, SIZES, SPECIAL
from tests.helpers.tiny_model import make_tokenizer

MAX_PARAMETERS = 3_000_000
TEXT_CONFIGS = ("text_config", "decoder")


def causal_families() -> list[str]:
    """The model types that transformers has a causal language model for."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def family_config(kind: str, tokenizer: Any, **settings: Any) -> Any:
    """A config of a model type with small sizes. Raises whatever its class does where these don't suit."""
    from transformers import CONFIG_MAPPING

    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    cls = CONFIG_MAPPING[kind]
    return cls(**_small(cls, cls(), {**SPECIAL.get(kind, {}), **settings}, ids))


def _small(
    cls: Any, default: Any, special: Mapping[str, Any], ids: Mapping[str, Any], part: str = ""
) -> dict[str, Any]:
    """The settings of a small config: sizes that the class knows, lists per layer, and configs within it."""
    known = (
        set(inspect.signature(cls).parameters) | set(vars(default)) | set(getattr(cls, "attribute_map", {}))
    )
    sizes = SIZES if not part or part in TEXT_CONFIGS else {**SIZES, **OTHER_SIZES}
    values = {name: value for name, value in {**sizes, **ids}.items() if name in known}
    if "kv_lora_rank" in values:  # latent attention has as many keys as queries, and head sizes of its own
        values.pop("head_dim", None)
        values["num_key_value_heads"] = 4
    if "bos_token_id" in values and str(_field_type(cls, "bos_token_id")) == "int":
        values["bos_token_id"] = ids["eos_token_id"]
    values |= _lists_of_layers(default)
    inner = {name: getattr(default, name, None) for name in getattr(cls, "sub_configs", {})}
    for name, config in inner.items():
        if config is not None:
            values[name] = _small(type(config), config, special.get(name, {}), ids, name)
            if config.model_type:
                values[name]["model_type"] = config.model_type
    return values | {name: value for name, value in special.items() if name not in inner}


def _field_type(cls: Any, name: str) -> Any:
    field = getattr(cls, "__dataclass_fields__", {}).get(name)
    return getattr(field.type, "__name__", field.type) if field else None


def _lists_of_layers(config: Any) -> dict[str, Any]:
    """Its lists with a value for each layer, cut to a few layers such that each kind of layer is among them."""
    layers = getattr(config, "num_hidden_layers", None)
    lists = {
        name.removeprefix("_"): list(value)
        for name, value in vars(config).items()
        if isinstance(value, list | tuple) and len(value) == layers and layers > LAYERS
    }
    kinds = list(zip(*lists.values(), strict=True))
    chosen = [place for place, kind in enumerate(kinds) if kind not in kinds[:place]][:LAYERS]
    chosen += [place for place in range(len(kinds)) if place not in chosen][: LAYERS - len(chosen)]
    return {name: [value[place] for place in sorted(chosen)] for name, value in lists.items()}


def make_family(folder: Path, kind: str, dtype: str = "float32", **settings: Any) -> Path:
    """Writes a tiny model of a type to ``folder``, with the tokenizer of the tests' own model.

    Matrices are four times as large as they are initialized, so that scales, caps and masks show in the logits, and
    there is no dropout, and no jitter of routers.
    """
    import torch

    tokenizer = _tokenizer()
    torch.manual_seed(0)
    config = family_config(kind, tokenizer, **settings)
    for part in (config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))):
        for name in list(vars(part)) if part is not None else ():
            if "dropout" in name or "jitter" in name or name.endswith("pdrop") or name == "layerdrop":
                setattr(part, name, 0 if isinstance(getattr(part, name), int) else 0.0)
    loader = _class_to_save(config)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in loader.from_config(config).parameters())
    if size > MAX_PARAMETERS:
        raise ValueError(f"{kind} has {size:,} parameters with these sizes; give it smaller ones in SPECIAL")
    model = loader.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 and "conv" not in name and "A_log" not in name:
                parameter.mul_(4.0)
        for module in model.modules():
            # Padding's row is 0 in new models and not in trained ones; some layers have no gradient at 0.
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx].normal_(0, float(module.weight.std()))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@cache
def _tokenizer() -> Any:
    return make_tokenizer()


def _class_to_save(config: Any) -> Any:
    """The class whose checkpoints have a type's name: of models for images or sounds where the causal language model is
    only a part of them.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    kind = config.model_type
    if kind not in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return transformers.AutoModelForSeq2SeqLM
    name = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]
    if kind in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not isinstance(
        config, getattr(transformers, name).config_class
    ):
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM
