"""Answers to prompts, greedy or drawn; a drawn one depends on its row's seed and not on the rows beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trainables.inference.sampling import Sampling
from trainables.scoring.generation import continued, pad_left, sample, seeds
from trainables.system.progress import tell
from trainables.training.policy import Policy


def generate_answers(
    policy: Policy,
    prompts: Sequence[list[int]],
    numbers: Sequence[int],
    sampling: Sampling | None,
    max_new_tokens: int,
    batch_size: int,
) -> list[str]:
    """The answer to each prompt's tokens, decoded and stripped; the most likely one without ``sampling``, of which
    temperature, top-p, top-k and seed count here. ``numbers``: the rows', which seed what is drawn.
    """
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
    allowed, found = _allowed(sampling), dict[int, list[int]]()
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]), reverse=True)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        ids, mask = pad_left([prompts[place] for place in chosen], policy.tokenizer.pad_token_id)
        own = [seeds(sampling.seed or 0, numbers[place], 1)[0] for place in chosen]
        where = ids.to(policy.device), mask.to(policy.device)
        output = sample(policy, *where, max_new_tokens, 0, temperature=1.0, seeds=own, allowed=allowed)
        found.update(zip(chosen, output.tolist(), strict=True))
        tell("writing answers", len(found), len(prompts))
    return [found[place] for place in range(len(prompts))]


def _allowed(sampling: Sampling) -> list[Callable[[Any, Any], Any]]:
    """Logits processors that leave what may be drawn, in transformers' order."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    found: list[Any] = [TemperatureLogitsWarper(float(sampling.temperature))]
    found += [TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    found += [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
    return found
