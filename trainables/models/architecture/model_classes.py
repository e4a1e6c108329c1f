"""Which of transformers' classes a model is loaded with, by its config alone, and what that class supports."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

ALL_ATTENTION = frozenset(("eager", "sdpa", "flash_attention_2", "flash_attention_3"))


def class_problem(config: Mapping[str, Any]) -> str | None:
    """Why a model with this ``config.json`` can't be trained; ``None`` where it can, or nobody knows.

    A model that only its own code can load is judged when it is loaded.
    """
    kind = config.get("model_type")
    if kind is None or config.get("auto_map"):
        return None
    if not isinstance(kind, str):
        return f"its config.json has {str(kind)[:50]} as model_type, which is no name"
    causal, masked = _class_names("CAUSAL_LM"), _class_names("MASKED_LM")
    if config.get("is_encoder_decoder"):
        return f"{kind} is an encoder-decoder, and stages train decoders that predict the next token"
    if kind not in causal:
        return f"transformers has no class that predicts the next token for models of type {kind}"
    if kind in masked and not config.get("is_decoder"):
        # Its attention sees the tokens that it should predict.
        return f"{kind} is an encoder (is_decoder is not set), and stages train decoders that predict the next token"
    if chunks := [name for name in config if name.endswith("attn_chunk_length")]:
        return f"{kind} trains only on rows of a multiple of {config[chunks[0]]} tokens ({chunks[0]}); a trial's differ"
    every, layers = config.get("rescale_every"), config.get("num_hidden_layers")
    if isinstance(every, int) and isinstance(layers, int) and 0 < every < layers:
        return (
            f"{kind}'s code divides its weights when it answers (rescale_every: {every}), so they would be saved so; "
            "write rescale_every: 0 in config.json, with which it computes the same"
        )
    if (part := _text_config(kind)) not in (None, *causal):
        return f"transformers can't load the text part of {kind} again ({part}), which is what a trial would save"
    return None


def supported_attention(config: Mapping[str, Any]) -> frozenset[str]:
    """The attention implementations that the model's class supports; all of them for a class that is not known."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or config.get("auto_map") or kind not in _class_names("CAUSAL_LM"):
        return ALL_ATTENTION
    return _supported_attention(_class_names("CAUSAL_LM")[kind])


@lru_cache(maxsize=32)
def _text_config(kind: str) -> str | None:
    """The type of the text config that the causal model of a type of images or sounds takes instead of the whole."""
    from transformers import CONFIG_MAPPING

    text = getattr(CONFIG_MAPPING[kind], "sub_configs", {}).get("text_config")
    if text is None or _model_class(_class_names("CAUSAL_LM")[kind]).config_class is not text:
        return None
    return str(text.model_type)


def _model_class(name: str) -> Any:
    import transformers

    return getattr(transformers, name)


@lru_cache(maxsize=32)
def _supported_attention(class_name: str) -> frozenset[str]:
    cls = _model_class(class_name)
    supported = {"eager"}
    if getattr(cls, "_supports_sdpa", False):
        supported.add("sdpa")
    if getattr(cls, "_supports_flash_attn", False):
        supported |= {"flash_attention_2", "flash_attention_3"}
    return frozenset(supported)


@lru_cache(maxsize=2)
def _class_names(task: str) -> Mapping[str, str]:
    from transformers.models.auto import modeling_auto

    mapping: Mapping[str, str] = {
        "CAUSAL_LM": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "MASKED_LM": modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    }[task]
    return mapping
