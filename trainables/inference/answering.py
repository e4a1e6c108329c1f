"""Answers to prompts, greedy or drawn; a drawn one depends on its row's seed and not on the rows beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.generation import continued, pad_left, sample, seeds
from trainables.policy import Policy
from trainables.progress import tell


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn: from the softmax of logits / ``temperature``, of it the ``top_k`` likeliest tokens, of
    these the fewest that have ``top_p`` of the probability. Raises ``ValueError`` for what makes no sense.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(
                f"--temperature {self.temperature:g}: give one above 0, or none for greedy answers"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"--top-p {self.top_p:g}: give a share between 0 and 1")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"--top-k {self.top_k}: give at least 1")

    def allowed(self) -> list[Callable[[Any, Any], Any]]:
        """Logits processors that leave what may be drawn, in transformers' order."""
        from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        found: list[Any] = [TemperatureLogitsWarper(self.temperature)]
        found += [TopKLogitsWarper(self.top_k)] if self.top_k is not None else []
        found += [TopPLogitsWarper(self.top_p)] if self.top_p < 1 else []
        return found


def answers(
    policy: Policy,
    prompts: Sequence[list[int]],
    numbers: Sequence[int],
    sampling: Sampling | None,
    max_new_tokens: int,
    batch_size: int,
) -> list[str]:
    """The answer to each prompt's tokens, decoded and stripped. ``numbers``: the rows', which seed what is drawn."""
    if sampling is None:
        found = continued(policy, prompts, max_new_tokens, batch_size)
    else:
        found = _drawn(policy, prompts, numbers, sampling, max_new_tokens, batch_size)
    return [text.strip() for text in policy.tokenizer.batch_decode(found, skip_special_tokens=True)]


def _drawn(
    policy: Policy,
    prompts: Sequence[list[int]],
    numbers: Sequence[int],
    sampling: Sampling,
    max_new_tokens: int,
    batch_size: int,
) -> list[list[int]]:
    allowed, found = sampling.allowed(), dict[int, list[int]]()
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]), reverse=True)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        ids, mask = pad_left([prompts[place] for place in chosen], policy.tokenizer.pad_token_id)
        own = [seeds(sampling.seed, numbers[place], 1)[0] for place in chosen]
        where = ids.to(policy.device), mask.to(policy.device)
        output = sample(policy, *where, max_new_tokens, 0, temperature=1.0, seeds=own, allowed=allowed)
        found.update(zip(chosen, output.tolist(), strict=True))
        tell("writing answers", len(found), len(prompts))
    return [found[place] for place in range(len(prompts))]
