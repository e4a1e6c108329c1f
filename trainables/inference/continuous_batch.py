"""Continuous batching: answers are generated together, and each joins and leaves the batch at any step (Yu et al.,
2022, "Orca").

transformers' own implementation runs paged attention with a large, fixed number of positions per step: made for GPUs,
and many times slower on a CPU.
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
    """An answer that is being generated: the token ids of its ``prompt`` and its ``tokens`` so far.

    ``finish_reason`` is ``None`` until it ends: ``stop`` after an end token or a stop text, ``length`` at its maximum
    number of tokens, ``cancelled`` by the caller, ``failed`` by the ``failure``.
    """

    prompt: list[int]
    sampler: TokenSampler
    tokens: list[int]
    finish_reason: str | None = None
    failure: Exception | None = None

    @classmethod
    def start(cls, prompt: list[int], sampling: Sampling) -> Answer:
        """An answer without tokens yet."""
        return cls(prompt, TokenSampler(sampling), [])

    def add_token(self, logits: Tensor, end_ids: Sequence[int]) -> None:
        """Chooses the next token by ``logits`` (vocab); one of ``end_ids`` ends the answer.

        An error while it is chosen fails this answer and none of those that are generated together with it.
        """
        try:
            self.tokens.append(self.sampler.next_token(logits))
        except Exception as error:
            self.fail(error)
            return
        if self.tokens[-1] in end_ids:
            self.finish_reason = "stop"
        elif len(self.tokens) >= self.sampler.sampling.max_new_tokens:
            self.finish_reason = "length"

    def fail(self, error: Exception) -> None:
        """Ends the answer by an error."""
        self.finish_reason, self.failure = "failed", error


class Batch:
    """Answers of one policy that take their steps together, with the model's cache of their tokens.

    Rows are padded on the left; ``mask`` (rows, cached tokens) is 0 where a row is padding.
    """

    def __init__(self, answers: list[Answer], cache: Any, mask: Tensor) -> None:
        self.answers, self.cache, self.mask = answers, cache, mask

    @classmethod
    def start(cls, policy: Policy, answers: list[Answer], end_ids: Sequence[int]) -> Batch:
        """Runs the model on the prompts, and on tokens that the answers have, and gives every answer its next token."""
        # The mask hides padding, so any id does.
        ids, mask = pad_left(
            [answer.prompt + answer.tokens for answer in answers], policy.tokenizer.pad_token_id or 0
        )
        batch = cls(answers, _new_cache(policy), torch.zeros(len(answers), 0, dtype=mask.dtype))
        batch._forward(policy, ids, mask, end_ids)
        return batch

    def step(self, policy: Policy, end_ids: Sequence[int]) -> None:
        """Adds a token to every answer."""
        ids = torch.tensor([answer.tokens[-1:] for answer in self.answers])  # (rows, 1)
        self._forward(policy, ids, torch.ones_like(ids), end_ids)

    def _forward(self, policy: Policy, ids: Tensor, mask: Tensor, end_ids: Sequence[int]) -> None:
        """``ids`` and ``mask``: (rows, new tokens)."""
        self.mask = torch.cat([self.mask, mask], dim=1)
        # Positions count a row's own tokens only, so that padding on the left changes nothing.
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = policy.causal(
            input_ids=ids.to(policy.device),
            attention_mask=self.mask.to(policy.device),
            position_ids=positions.to(policy.device),
            cache=self.cache,
            use_cache=True,
            # (rows, 1, vocab): the logits of all positions of long prompts would take gigabytes.
            logits_to_keep=1,
        )
        for answer, logits in zip(self.answers, output.logits[:, -1], strict=True):
            answer.add_token(logits, end_ids)

    def without_finished(self) -> Batch | None:
        """This batch with its unfinished answers alone; ``None`` if there are none."""
        unfinished = [row for row, answer in enumerate(self.answers) if answer.finish_reason is None]
        if len(unfinished) == len(self.answers):
            return self
        if not unfinished:
            return None
        self.cache.batch_select_indices(torch.tensor(unfinished))
        self.mask = self.mask[unfinished]
        self.answers = [self.answers[row] for row in unfinished]
        self._drop_padding()
        return self

    def _drop_padding(self) -> None:
        """Frees the leftmost columns that are padding in every row."""
        # argmax finds the first 1 of each row, before which there is only padding.
        columns = int(self.mask.argmax(dim=1).min())
        if columns and can_join(self.cache):
            self.mask = self.mask[:, columns:]
            for layer in self.cache.layers:
                # (rows, heads, tokens, head size): the same columns leave the mask, the keys and the values.
                layer.keys, layer.values = layer.keys[..., columns:, :], layer.values[..., columns:, :]

    def join(self, other: Batch) -> None:
        """Adds the answers of another batch of the same policy. Both caches must satisfy :func:`can_join`."""
        # Masks (answers, width) are padded on the left, so that the next tokens of all answers are in one column.
        width = max(self.mask.shape[1], other.mask.shape[1])
        for ours, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            for name in ("keys", "values"):
                both = [_padded_states(getattr(layer, name), width) for layer in (ours, theirs)]
                setattr(ours, name, torch.cat(both))
        self.mask = torch.cat([pad(mask, (width - mask.shape[1], 0)) for mask in (self.mask, other.mask)])
        self.answers += other.answers


def can_join(cache: Any) -> bool:
    """Whether the cache holds keys and values by position in all layers, so that rows of two caches can be joined."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _new_cache(policy: Policy) -> Any:
    """A cache of all positions' keys and values, also for layers with sliding-window attention, whose mask limits what
    they see. A model with layers that carry a state along (linear attention) gets the cache that its config asks for.
    """
    config = policy.causal.config.get_text_config()
    layer_types = getattr(config, "layer_types", None) or ["full_attention"]
    only_attention = all("attention" in kind and "linear" not in kind for kind in layer_types)
    return DynamicCache() if only_attention else DynamicCache(config=config)


def _padded_states(states: Tensor, width: int) -> Tensor:
    """``states`` (rows, heads, tokens, head size), padded on the left to ``width`` tokens."""
    return pad(states, (0, 0, width - states.shape[-2], 0))
