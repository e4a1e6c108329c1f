"""The loss of a batch as a part of the mean over all tokens of its optimizer step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def share_of_step(trainer: Any, summed: Tensor, labelled: Any, counted: Any) -> Tensor:
    """``summed``, the sum of a batch's losses, by the tokens of the whole step, of which the gradients add up to those
    of the plain mean; without a token 0.

    ``counted``: the tokens of the step, over all workers (transformers' ``num_items_in_batch``); ``None`` outside of
    training, where the ``labelled`` tokens of the batch count instead. Of several workers the gradients are averaged,
    so that the share is multiplied by their number.
    """
    tokens = torch.as_tensor(labelled if counted is None else counted).clamp(min=1)
    loss = summed / tokens
    if counted is not None and trainer.args.average_tokens_across_devices:
        loss = loss * trainer.accelerator.num_processes
    return loss
