"""Answers that are generated together: one joins at any step, and leaves when it ends (continuous batching; Yu et al.,
2022, "Orca").

transformers' own runs paged attention, whose steps have a fixed, large number of places: made for GPUs, and many times
slower on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from trainables.inference.sampling import Sampling, TokenSampler
from trainables.scoring.generation import pad_left
from trainables.training.policy import Policy


@dataclass
class Answer:
    """One answer in the making: its ``prompt``, the ``tokens`` it has so far, and why it ``ended``, if it did:
    ``stop`` at its own end, ``length`` for want of room, ``cancelled`` by whoever asked for it.
    """

    prompt: list[int]
    chooser: TokenSampler
    tokens: list[int]
    finish_reason: str | None = None

    @classmethod
    def begun(cls, prompt: list[int], sampling: Sampling) -> Answer:
        return cls(prompt, TokenSampler(sampling), [])

    def take(self, logits: Tensor, ends: Sequence[int]) -> None:
        """Goes on by a token."""
        self.tokens.append(self.chooser.choose(logits))
        if self.tokens[-1] in ends:
            self.finish_reason = "stop"
        elif len(self.tokens) >= self.chooser.sampling.max_new_tokens:
            self.finish_reason = "length"


class Batch:
    """Answers of one policy that take their steps together, with what the model keeps of them.

    Rows are padded on the left; ``mask`` (rows, tokens kept) says where.
    """

    def __init__(self, answers: list[Answer], cache: Any, mask: Tensor) -> None:
        self.answers, self.cache, self.mask = answers, cache, mask

    @classmethod
    def of(cls, policy: Policy, answers: list[Answer], ends: Sequence[int]) -> Batch:
        """Reads the prompts and gives every answer its first token."""
        ids, mask = pad_left([answer.prompt for answer in answers], policy.tokenizer.pad_token_id or 0)
        batch = cls(answers, _cache(policy), torch.zeros(len(answers), 0, dtype=mask.dtype))
        batch._forward(policy, ids, mask, ends)
        return batch

    def step(self, policy: Policy, ends: Sequence[int]) -> None:
        """Every answer goes on by a token."""
        ids = torch.tensor([answer.tokens[-1:] for answer in self.answers])
        self._forward(policy, ids, torch.ones_like(ids), ends)

    def _forward(self, policy: Policy, ids: Tensor, mask: Tensor, ends: Sequence[int]) -> None:
        self.mask = torch.cat([self.mask, mask], dim=1)
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        found = policy.causal(
            input_ids=ids.to(policy.device),
            attention_mask=self.mask.to(policy.device),
            position_ids=positions.to(policy.device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        for answer, logits in zip(self.answers, found.logits[:, -1], strict=True):
            answer.take(logits, ends)

    def without_ended(self) -> Batch | None:
        """The answers that aren't at their end; ``None`` when all are."""
        going = [row for row, answer in enumerate(self.answers) if answer.finish_reason is None]
        if len(going) == len(self.answers):
            return self
        if not going:
            return None
        self.cache.batch_select_indices(torch.tensor(going))
        self.mask = self.mask[going]
        self.answers = [self.answers[row] for row in going]
        self._trim()
        return self

    def _trim(self) -> None:
        """Lets go of columns that are padding in every row."""
        spare = int(self.mask.argmax(dim=1).min())
        if spare and can_join(self.cache):
            self.mask = self.mask[:, spare:]
            for layer in self.cache.layers:
                layer.keys, layer.values = layer.keys[..., spare:, :], layer.values[..., spare:, :]

    def join(self, other: Batch) -> None:
        """Takes another's answers in. Only where :func:`joins` says so of both caches."""
        width = max(self.mask.shape[1], other.mask.shape[1])
        for ours, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            for name in ("keys", "values"):
                both = (_widened(getattr(layer, name), width) for layer in (ours, theirs))
                setattr(ours, name, torch.cat(list(both)))
        self.mask = torch.cat([pad(mask, (width - mask.shape[1], 0)) for mask in (self.mask, other.mask)])
        self.answers += other.answers


def can_join(cache: Any) -> bool:
    """Whether what is kept of rows is keys and values by position, so that rows can be put beside one another."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _cache(policy: Policy) -> Any:
    """Keys and values of all positions, also where a layer looks back only so far: its mask says that.

    A layer that carries a state along has a cache of its own.
    """
    config = policy.causal.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    attends = all("attention" in kind and "linear" not in kind for kind in kinds)
    return DynamicCache() if attends else DynamicCache(config=config)


def _widened(states: Tensor, width: int) -> Tensor:
    """``states`` (rows, heads, tokens, size of a head) with room before its tokens."""
    return pad(states, (0, 0, width - states.shape[-2], 0))
