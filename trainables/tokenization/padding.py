"""Rows of different lengths as one tensor: what a row lacks is filled up on the right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.tokenization.encode import IGNORED


def padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """The rows, each filled up with ``value``: (rows, longest row).

    >>> padded([[1, 2], [3]], 0).tolist()
    [[1, 2], [3, 0]]
    """
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def padded_inputs(rows: Sequence[Sequence[int]], pad: int) -> dict[str, Tensor]:
    """``input_ids`` and ``attention_mask`` of rows of tokens, each (rows, longest row)."""
    return {"input_ids": padded(rows, pad), "attention_mask": padded([[1] * len(row) for row in rows], 0)}


def labelled_places(labels: Tensor) -> Tensor:
    """The numbers (places,) of the positions with a label, counted through the rows of ``labels`` (rows, tokens).

    >>> labelled_places(torch.tensor([[IGNORED, 7], [8, IGNORED]])).tolist()
    [1, 2]
    """
    return (labels != IGNORED).flatten().nonzero()[:, 0]
