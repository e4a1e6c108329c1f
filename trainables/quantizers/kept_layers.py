"""Linear layers that libraries would quantize while they load a model, and must not."""

from __future__ import annotations

from typing import Any

from trainables.models.architecture.blueprint import blueprint
from trainables.models.architecture.text_head import encoder_head

REWARD_HEAD = "score"


def kept_layers(config: Any) -> tuple[str, ...]:
    """Full names of the linear layers of a model with this transformers config whose weights other code reads, such as
    Mamba's ``dt_proj``, and of its head; of an encoder, of the heads that it may have. Empty for a decoder without such
    layers, whose head every library knows.
    """
    from torch import nn

    from trainables.models.architecture.weight_reader import model_weights

    model = blueprint(config)
    if model is None:
        return ()
    if heads_of_encoder := encoder_head(model):
        return (*heads_of_encoder, *_label_head(config))
    read = [
        weight.module
        for weight in model_weights(model)
        if weight.form == "other"
        and weight.matrix
        and isinstance(model.get_submodule(weight.module), nn.Linear)
    ]
    head = model.get_output_embeddings()
    heads = [name for name, module in model.named_modules() if module is head]
    return (*read, *heads, REWARD_HEAD) if read else ()


def _label_head(config: Any) -> tuple[str, ...]:
    """Full names of the modules of an encoder's head for labels; none where transformers have no such class."""
    import torch
    from transformers import AutoModelForSequenceClassification

    try:
        with torch.device("meta"):
            return tuple(encoder_head(AutoModelForSequenceClassification.from_config(config)))
    except ValueError:
        return ()
