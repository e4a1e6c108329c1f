"""Token by token through a causal language model, in three ways that give the same logits where they hold.

Which of them hold for a model says :mod:`trainables.models.architecture.generation_probe`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer
from transformers.generation import GenerationMode


class Rows(Protocol):
    """Rows of tokens that take their steps together; ``logits`` (rows, vocab) are those of the next token of each."""

    logits: Tensor

    def step(self, tokens: Sequence[int]) -> None:
        """Adds a token to every row."""


class JoinedRows:
    """Rows in one cache of keys and values by position, which others can join and leave at any step.

    The cache keeps all positions, also for layers with sliding-window attention, whose mask limits what they see. Rows
    are padded on the left; ``mask`` (rows, cached tokens) is 0 on padding. Raises ``ValueError`` for a model whose
    cache has layers of another kind afterwards.
    """

    def __init__(self, causal: Any, rows: Sequence[Sequence[int]]) -> None:
        self.causal: Any = causal
        self.cache: Any = DynamicCache()
        ids, mask = pad_left(rows)
        self.mask = torch.zeros(len(rows), 0, dtype=mask.dtype)
        self.logits = self._forward(ids, mask)
        layers = self.cache.layers
        if not all(type(each) is DynamicLayer for each in layers) or self.cache.get_seq_length() != len(
            ids[0]
        ):
            raise ValueError("the model keeps its state elsewhere than in keys and values by position")

    def step(self, tokens: Sequence[int]) -> None:
        ids = torch.tensor(tokens)[:, None]  # (rows, 1)
        self.logits = self._forward(ids, torch.ones_like(ids))

    def _forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``ids`` and ``mask``: (rows, new tokens). Returns logits (rows, vocab)."""
        self.mask = torch.cat([self.mask, mask], dim=1)
        # Positions count a row's own tokens only, so that padding on the left changes nothing.
        positions = _positions(self.mask)[:, -ids.shape[1] :]
        device = self.causal.device
        output = self.causal(
            input_ids=ids.to(device),
            attention_mask=self.mask.to(device),
            position_ids=positions.to(device),
            cache=self.cache,
            use_cache=True,
            # (rows, 1, vocab): the logits of all positions of long prompts would take gigabytes.
            logits_to_keep=1,
        )
        return _last(output)

    def keep(self, rows: Sequence[int]) -> None:
        """Removes all other rows, and the leftmost columns that are padding in all rows that stay."""
        self.cache.batch_select_indices(torch.tensor(rows))
        self.mask, self.logits = self.mask[rows], self.logits[rows]
        # argmax finds the first 1 of each row, before which there is only padding.
        columns = int(self.mask.argmax(dim=1).min())
        self.mask = self.mask[:, columns:]
        for layer in self.cache.layers:
            # (rows, heads, tokens, head size): the same columns leave the mask, the keys and the values.
            layer.keys, layer.values = layer.keys[..., columns:, :], layer.values[..., columns:, :]

    def join(self, other: JoinedRows) -> None:
        """Adds the rows of another batch of the same model behind these."""
        # Padded on the left, so that the next tokens of all rows are in one column.
        width = max(self.mask.shape[1], other.mask.shape[1])
        for ours, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            for name in ("keys", "values"):
                both = [_padded_states(getattr(layer, name), width) for layer in (ours, theirs)]
                setattr(ours, name, torch.cat(both))
        self.mask = torch.cat([pad(mask, (width - mask.shape[1], 0)) for mask in (self.mask, other.mask)])
        self.logits = torch.cat([self.logits, other.logits])


class OwnSteps:
    """Rows that take the steps of the model's own ``generate``, with whatever it keeps between them.

    As ``GenerationMixin.generate`` and ``_sample`` do it; checked with transformers 5.24. Rows are padded on the left.
    """

    def __init__(self, causal: Any, rows: Sequence[Sequence[int]], padding: int = 0) -> None:
        self.causal = causal
        self.ids, mask = (tensor.to(causal.device) for tensor in pad_left(rows, padding))
        padded = not bool(mask.all())
        inputs = {
            "attention_mask": mask if padded else None,
            "position_ids": _positions(mask),
            "logits_to_keep": 1,
        }
        known = inspect.signature(type(causal).forward).parameters
        self._kept = {name: value for name, value in inputs.items() if name in known} | {"use_cache": True}
        causal._prepare_cache_for_generation(
            GenerationConfig(), self._kept, GenerationMode.GREEDY_SEARCH, *self.ids.shape
        )
        self.logits = self._forward(is_first_iteration=True)

    def step(self, tokens: Sequence[int]) -> None:
        self.ids = torch.cat([self.ids, torch.tensor(tokens, device=self.ids.device)[:, None]], dim=1)
        self.logits = self._forward(next_sequence_length=1)

    def _forward(self, **options: Any) -> Tensor:
        inputs = self.causal.prepare_inputs_for_generation(self.ids, **options, **self._kept)
        output = self.causal(**inputs, return_dict=True)
        self._kept = self.causal._update_model_kwargs_for_generation(output, self._kept)
        return _last(output)


class RecomputedRows:
    """Rows whose every token is computed from all tokens before it: no cache, the model's own forward pass."""

    def __init__(self, causal: Any, rows: Sequence[Sequence[int]], padding: int = 0) -> None:
        self.causal = causal
        self.ids, self.mask = (tensor.to(causal.device) for tensor in pad_left(rows, padding))
        self.logits = self._forward()

    def step(self, tokens: Sequence[int]) -> None:
        new = torch.tensor(tokens, device=self.ids.device)[:, None]
        self.ids = torch.cat([self.ids, new], dim=1)
        self.mask = torch.cat([self.mask, torch.ones_like(new)], dim=1)
        self.logits = self._forward()

    def _forward(self) -> Tensor:
        inputs = {"attention_mask": self.mask, "position_ids": _positions(self.mask), "logits_to_keep": 1}
        known = inspect.signature(type(self.causal).forward).parameters
        inputs = {name: value for name, value in inputs.items() if name in known}
        return _last(self.causal(input_ids=self.ids, **inputs, use_cache=False))


def pad_left(rows: Sequence[Sequence[int]], padding: int = 0) -> tuple[Tensor, Tensor]:
    """``input_ids`` and ``attention_mask``, each (rows, longest row). The mask hides padding, so that any id does."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[padding] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _positions(mask: Tensor) -> Tensor:
    """The position of each token among its row's own: (rows, tokens), 0 on padding."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _last(output: Any) -> Tensor:
    # A copy, so that the logits of all positions are freed where a model can't leave them out.
    return output.logits[:, -1].clone()


def _padded_states(states: Tensor, width: int) -> Tensor:
    """``states`` (rows, heads, tokens, head size), padded on the left to ``width`` tokens."""
    return pad(states, (0, 0, width - states.shape[-2], 0))
