"""How the weights that train are divided among parameter groups: matrices and others, with and without decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from trainables.models.architecture.text_head import encoder_head, text_head


def parameter_groups(model: nn.Module, decaying: Sequence[str], weight_decay: float) -> list[dict[str, Any]]:
    """Groups with the keys ``params``, ``weight_decay`` and ``matrix``: whether they are matrices between the embedding
    and the head. ``decaying``: names of the parameters whose weights decay.
    """
    outside = _outside(model)
    names = set(decaying)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            matrix = parameter.ndim == 2 and id(parameter) not in outside
            groups.setdefault((matrix, name in names), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "matrix": matrix}
        for (matrix, decays), parameters in groups.items()
    ]


def _outside(model: Any) -> set[int]:
    """The ids of the parameters of embeddings and of heads."""
    modules: list[nn.Module] = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    modules += [*text_head(model).values(), *encoder_head(model).values()]
    if (head := model.get_output_embeddings()) is not None:
        modules.append(head)
    return {id(parameter) for module in modules for parameter in module.parameters()}
