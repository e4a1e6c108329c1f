"""The head of a model that gives numbers for a whole text, and the parts of an encoder that its head consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainables.models.architecture.model_classes import is_encoder

if TYPE_CHECKING:
    from torch import nn

# Classes of transformers that have a head on an encoder, by how most of their names end.
ENCODER_CLASSES = ("ForMaskedLM", "ForSequenceClassification")


def text_head(model: Any) -> dict[str, nn.Module]:
    """The modules that give a text its reward or its labels, by full name; empty in a model that predicts tokens.

    They may be new in every trial, so they train with every method. On a decoder it is one linear layer, ``score``; on
    an encoder also what pools its hidden states.
    """
    if (score := getattr(model, "score", None)) is not None:
        return {"score": score}
    return encoder_head(model) if type(model).__name__.endswith(ENCODER_CLASSES[1]) else {}


def encoder_head(model: Any) -> dict[str, nn.Module]:
    """All modules with weights that an encoder's head consists of, by full name: those beside its base model, and its
    pooler. Empty for other models.

    >>> list(encoder_head(BertForSequenceClassification(config)))  # doctest: +SKIP
    ['classifier', 'bert.pooler']
    """
    base = model.base_model
    if base is model or hasattr(model, "score") or not _is_encoder(model):
        return {}
    found = {name: child for name, child in model.named_children() if child is not base}
    if (pooler := getattr(base, "pooler", None)) is not None:
        found[f"{model.base_model_prefix}.pooler"] = pooler
    return {name: module for name, module in found.items() if any(True for _ in module.parameters())}


def _is_encoder(model: Any) -> bool:
    """By the name of its class, which may be of its own code, or by its config: XLM's is ``XLMWithLMHeadModel``."""
    return type(model).__name__.endswith(ENCODER_CLASSES) or is_encoder(model.config.to_dict())
