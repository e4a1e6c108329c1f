"""Parts of adapters that do not train, which PEFT has train again with many of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


def freeze_a(model: nn.Module, dtype: torch.dtype) -> None:
    """Has the matrices A of LoRA train no longer, in the ``dtype`` in which they are scored and saved."""
    for name, parameter in model.named_parameters():
        if "lora_A." in name or "lora_embedding_A." in name:
            parameter.requires_grad_(False)
            parameter.data = parameter.data.to(dtype)


@contextmanager
def keeping_frozen(model: nn.Module) -> Iterator[None]:
    """Has what does not train when a block begins not train when it ends: PEFT has all of an adapter train where it
    loads one, and where it switches adapters on.
    """
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
