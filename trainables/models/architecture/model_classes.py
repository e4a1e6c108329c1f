"""Which of transformers' classes a model is loaded with, by its config alone, and what that class supports.

Only transformers' modules of models know that, and importing them takes seconds and torch. What they say of a type of
model is therefore kept in the cache for each version of transformers, so that a plan usually needs none of them.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from trainables.models.architecture.flash_attention import FLASH
from trainables.storage import cache, files

VERSION = 3  # of what is kept
ALL_ATTENTION = frozenset(("eager", "sdpa", *FLASH))
FLASH_HEAD = 256  # FlashAttention's largest size of a head
# Encoders whose outputs for a row change with the padding behind it, which their convolutions, Fourier transforms,
# pooling or landmarks read; ``forward_probe.require_padding`` finds others when they are loaded.
READS_PADDING = frozenset({"convbert", "fnet", "funnel", "nystromformer", "yoso"})


ModelKind = Literal["decoder", "encoder"]
DECODERS: tuple[ModelKind, ...] = ("decoder",)


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether a model with this ``config.json`` is an encoder that predicts masked tokens, as BERT is.

    Its attention sees the tokens after each one. ``False`` for a model that only its own code can load.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or config.get("auto_map"):
        return False
    if config.get("is_encoder_decoder") or config.get("is_decoder"):
        return False
    return _classes(kind).masked


def class_problem(
    config: Mapping[str, Any],
    stage: str = "this stage",
    trained: Collection[ModelKind] = DECODERS,
    labels: bool = False,
) -> str | None:
    """Why a ``stage`` can't train a model with this ``config.json``; ``None`` where it can, or nobody knows.

    ``trained``: which kinds of models it trains. ``labels``: whether with a head for labels. A model that only its own
    code can load is judged when it is loaded.
    """
    kind = config.get("model_type")
    if kind is None or config.get("auto_map"):
        return None
    if not isinstance(kind, str):
        return f"its config.json has {str(kind)[:50]} as model_type, which is no name"
    classes = _classes(kind)
    if config.get("is_encoder_decoder"):
        return f"{kind} is an encoder-decoder, and stages train decoders that predict the next token"
    if is_encoder(config):
        return _encoder_problem(kind, classes, stage, trained, labels)
    if "decoder" not in trained:
        return (
            f"{kind} is not an encoder that predicts masked tokens, as objective: mlm trains (BERT, RoBERTa, "
            "ModernBERT and the like); leave objective out to train it on the next token"
        )
    if not classes.causal:
        return f"transformers has no class that predicts the next token for models of type {kind}"
    if chunks := [name for name in config if name.endswith("attn_chunk_length")]:
        return f"{kind} trains only on rows of a multiple of {config[chunks[0]]} tokens ({chunks[0]}); a trial's differ"
    every, layers = config.get("rescale_every"), config.get("num_hidden_layers")
    if isinstance(every, int) and isinstance(layers, int) and 0 < every < layers:
        return (
            f"{kind}'s code divides its weights when it answers (rescale_every: {every}), so they would be saved so; "
            "write rescale_every: 0 in config.json, with which it computes the same"
        )
    if classes.lost_text_part is not None:
        part = classes.lost_text_part
        return f"transformers can't load the text part of {kind} again ({part}), which is what a trial would save"
    return None


def _encoder_problem(
    kind: str, classes: _Classes, stage: str, trained: Collection[ModelKind], labels: bool
) -> str | None:
    if "encoder" not in trained:
        # Its attention sees the tokens that it should predict.
        return (
            f"{kind} is an encoder (is_decoder is not set), and {stage} trains decoders that predict the next token; "
            "encoders are trained by pretrain with objective: mlm, and by classification"
        )
    if kind in READS_PADDING:
        return (
            f"{kind} gives other outputs for a row when padding follows it, so rows of different lengths can't share a "
            "batch"
        )
    if labels and not classes.classifies:
        return f"transformers has no class with a head for labels for models of type {kind}"
    return None


def supported_attention(config: Mapping[str, Any]) -> frozenset[str]:
    """The attention implementations that the model's class supports; all of them for a class that is not known."""
    kind = config.get("model_type")
    known = isinstance(kind, str) and not config.get("auto_map") and bool(_classes(kind).attention)
    supported = frozenset(_classes(str(kind)).attention) if known else ALL_ATTENTION
    if _head_size(config) <= FLASH_HEAD:
        return supported
    return supported - frozenset(FLASH)


def _head_size(config: Mapping[str, Any]) -> int:
    """The largest size of a head that a config names; 0 where it names none."""
    inner = config.get("text_config")
    settings = {**config, **(inner if isinstance(inner, Mapping) else {})}
    named = [settings.get(name) for name in ("head_dim", "global_head_dim")]
    # Multi-head latent attention has two parts of a query.
    named.append((settings.get("qk_nope_head_dim") or 0) + (settings.get("qk_rope_head_dim") or 0))
    width, heads = settings.get("hidden_size"), settings.get("num_attention_heads")
    if settings.get("head_dim") is None and isinstance(width, int) and isinstance(heads, int) and heads:
        named.append(width // heads)
    return max(size for size in (0, *named) if isinstance(size, int))


@dataclass(frozen=True)
class _Classes:
    """What transformers has for one type of model.

    ``causal``, ``masked``: whether there is a class that predicts next tokens, or masked ones; ``classifies``: whether
    one gives a text labels. ``attention``: what the causal class implements, or the masked one where there is no other.
    ``lost_text_part``: the type of the text config that the causal class of a type of images or sounds takes instead of
    the whole, if no causal class loads that type.
    """

    causal: bool
    masked: bool
    attention: tuple[str, ...] = ()
    lost_text_part: str | None = None
    classifies: bool = False


@lru_cache(maxsize=256)
def _classes(kind: str) -> _Classes:
    key = files.sha256([VERSION, importlib.metadata.version("transformers"), kind])
    try:
        return cache.value("model-classes", key, "classes.json", _Classes, lambda: _found(kind))
    except OSError:  # a plan needs no cache folder that can be written to
        return _found(kind)


def _found(kind: str) -> _Classes:
    """What transformers' modules say, which takes seconds to import."""
    import transformers
    from transformers.models.auto import modeling_auto

    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    of_masked = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    masked, classifies = (
        kind in of_masked,
        kind in modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    )
    if kind not in causal:
        attention = _attention(getattr(transformers, of_masked[kind])) if masked else ()
        return _Classes(False, masked, attention, classifies=classifies)
    cls = getattr(transformers, causal[kind])
    text = getattr(transformers.CONFIG_MAPPING[kind], "sub_configs", {}).get("text_config")
    lost = None
    if text is not None and cls.config_class is text and text.model_type not in causal:
        lost = str(text.model_type)
    return _Classes(True, masked, _attention(cls), lost, classifies)


def _attention(cls: Any) -> tuple[str, ...]:
    """The implementations of attention that a class of models declares."""
    sdpa = ("sdpa",) if getattr(cls, "_supports_sdpa", False) else ()
    both = FLASH if getattr(cls, "_supports_flash_attn", False) else ()
    # A class may name those that compute all that it needs, such as attention sinks; else it takes any.
    named = getattr(cls, "_compatible_flash_implementations", None)
    return ("eager", *sdpa, *(name for name in both if named is None or name in named))
