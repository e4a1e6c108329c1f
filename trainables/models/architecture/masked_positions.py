"""The logits of a model that predicts masked tokens, at some positions alone: its head is wide, and few have a mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trainables.models.architecture.forward_probe import LONG, OTHER_WAY, close, some_tokens
from trainables.models.folder import ModelError


@contextmanager
def only_at(causal: Any, places: Tensor) -> Iterator[None]:
    """Within the block the model's head reads the hidden states at ``places`` (places,), numbers of positions counted
    through the rows: its logits are (1, places, vocab). Numbers and no mask, by which a GPU would be waited for.
    """

    def select(module: Any, arguments: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state.flatten(0, 1)[places][None]
        return output

    handle = causal.base_model.register_forward_hook(select)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def require_own_positions(causal: Any) -> None:
    """Raises ``ModelError`` for a model whose head reads more than the hidden state of a position."""
    ids = some_tokens(causal, LONG, seed=0)
    places = torch.arange(0, ids.shape[1], 3, device=ids.device)  # of the first row
    own = causal(input_ids=ids).logits[0, places]
    with only_at(causal, places):
        alone = causal(input_ids=ids).logits[0]
    if not close(alone, own, OTHER_WAY, causal.dtype):
        raise ModelError(
            f"the head of {type(causal).__name__} reads more than the hidden state of the token that it predicts, "
            "which objective: mlm can't train"
        )
