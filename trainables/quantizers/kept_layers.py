"""Linear layers that libraries would quantize while they load a model, and must not."""

from __future__ import annotations

from typing import Any

from trainables.models.architecture.blueprint import blueprint

REWARD_HEAD = "score"


def kept_layers(config: Any) -> tuple[str, ...]:
    """Full names of the linear layers of a model with this transformers config whose weights other code reads, such as
    Mamba's ``dt_proj``, and of its head. Empty for a model without such layers, whose head every library knows.
    """
    from torch import nn

    from trainables.models.architecture.weight_reader import model_weights

    model = blueprint(config)
    if model is None:
        return ()
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
