"""Greedy answers, checked against a draft first: where the model says what the draft says, none is generated.

Greedy decoding takes the most likely token at every place. Given the reference answer as a draft, one forward
pass tells how far the model would have followed it; only from the first disagreement on does it have to speak
for itself. The answers are those of plain greedy decoding (the draft-and-verify step of speculative decoding:
Leviathan et al., 2023, arXiv:2211.17192, at temperature 0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainables.scoring.likelihood import Judged
from trainables.system.progress import tell
from trainables.tokenization.encode import Encoded
from trainables.training.policy import Policy

if TYPE_CHECKING:
    from transformers import GenerationConfig


SAMPLES, SAMPLE_TOKENS = 4, 48  # answers, and tokens of each, where they serve only to be looked at
ROOM = 4  # answers may run this many tokens past the longest reference before they are cut off


def greedy(
    policy: Policy, rows: Sequence[Encoded], judged: Sequence[Judged], max_new_tokens: int, batch_size: int
) -> list[str]:
    """The answer to each row's prompt, in their order, decoded without special tokens and stripped.

    ``judged``: the rows as judged by ``likelihood.judge``. An answer ends at an end-of-turn token, or after
    ``max_new_tokens``.
    """
    ends = set(end_tokens(policy))
    answers = [
        agreed(row.answer, found.choices[-len(row.answer) :], ends)
        for row, found in zip(rows, judged, strict=True)
    ]
    unfinished = [index for index, answer in enumerate(answers) if answer[-1] not in ends]
    starts = [rows[index].prompt + answers[index] for index in unfinished]
    for index, rest in zip(unfinished, continued(policy, starts, max_new_tokens, batch_size), strict=True):
        answers[index] = answers[index] + rest
    kept = [answer[:max_new_tokens] for answer in answers]  # what the draft proved counts as generated, too
    texts = policy.tokenizer.batch_decode(kept, skip_special_tokens=True)
    return [text.strip() for text in texts]


def answers(policy: Policy, rows: Sequence[Encoded], judged: Sequence[Judged], batch_size: int) -> list[str]:
    """The greedy answer to each row's prompt, of at most :func:`longest_answer` tokens."""
    return greedy(policy, rows, judged, longest_answer(judged), batch_size)


def longest_answer(judged: Sequence[Judged]) -> int:
    """How many tokens an answer may have: :data:`ROOM` more than the longest reference."""
    return max((found.tokens for found in judged), default=0) + ROOM


def exact_matches(
    policy: Policy,
    rows: Sequence[Encoded],
    judged: Sequence[Judged],
    references: Sequence[str],
    batch_size: int,
) -> tuple[list[str], list[float]]:
    """The greedy answer to each row's prompt, and 1 where it is the reference, its thoughts aside, else 0."""
    from trainables.data.thinking import matches

    said = answers(policy, rows, judged, batch_size)
    return said, matches(said, references)


def samples(policy: Policy, rows: Sequence[Encoded], judged: Sequence[Judged]) -> list[str | None]:
    """The beginning of the greedy answer to each of the first few prompts, and ``None`` for the others."""
    few = greedy(policy, rows[:SAMPLES], judged[:SAMPLES], SAMPLE_TOKENS, SAMPLES) if rows else []
    return [*few, *[None] * (len(rows) - len(few))]


def agreed(draft: Sequence[int], choices: Sequence[int], ends: set[int]) -> list[int]:
    """The model's own greedy tokens as far as the draft proves them: up to its first other choice or its end.

    ``choices[i]`` is the model's choice after ``draft[:i]``.

    >>> agreed([5, 6, 7], [5, 9, 7], ends={0})
    [5, 9]
    >>> agreed([5, 0, 7], [5, 0, 8], ends={0})
    [5, 0]
    """
    taken: list[int] = []
    for drafted, choice in zip(draft, choices, strict=True):
        taken.append(choice)
        if choice != drafted or choice in ends:
            break
    return taken


def continued(
    policy: Policy,
    starts: Sequence[list[int]],
    max_new_tokens: int,
    batch_size: int,
    min_new_tokens: int = 0,
) -> list[list[int]]:
    """What greedy decoding says after each start, in their order; after its end an answer may be padded."""
    pad = policy.tokenizer.pad_token_id
    settings = _settings(policy, max_new_tokens, min_new_tokens, do_sample=False)
    results: dict[int, list[int]] = {}
    order = sorted(range(len(starts)), key=lambda index: len(starts[index]), reverse=True)
    with policy.evaluating(), contiguous_head(policy), _only(policy, settings):
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            ids, mask = pad_left([starts[index] for index in chosen], pad)
            output = policy.causal.generate(
                input_ids=ids.to(policy.device),
                attention_mask=mask.to(policy.device),
                generation_config=settings,
            )
            results.update(zip(chosen, output[:, ids.shape[1] :].tolist(), strict=True))
            tell("writing answers", len(results), len(starts))
    return [results[index] for index in range(len(starts))]


def sample(
    policy: Policy,
    ids: torch.Tensor,
    mask: torch.Tensor,
    max_new_tokens: int,
    min_new_tokens: int,
    temperature: float,
    seeds: Sequence[int],
    allowed: Sequence[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = (),
) -> torch.Tensor:
    """Answers drawn from the policy's own distribution, padded after their ends: (rows, tokens of the longest).

    ``ids`` and ``mask`` (rows, tokens) are prompts that are padded on the left. No answer ends before it has
    ``min_new_tokens`` tokens. Each row is drawn by its own of ``seeds``, whatever rows are beside it. ``allowed`` are
    transformers' logits processors, which leave only some tokens to draw from.
    """
    settings = _settings(policy, max_new_tokens, min_new_tokens, do_sample=False)
    noise = _Noise(seeds, temperature, policy.device)
    with policy.evaluating(), contiguous_head(policy), _only(policy, settings):
        output = policy.causal.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=[*allowed, noise],
        )
    return output[:, ids.shape[1] :]


def seeds(seed: int, first: int, count: int) -> list[int]:
    """Of so many rows, from the ``first`` one on of all that a trial of this ``seed`` draws."""
    numbers = range(first, first + count)
    return [int(np.random.SeedSequence([seed, n]).generate_state(1, np.uint64)[0]) for n in numbers]


class _Noise:
    """Makes the most likely token one that is drawn: the largest of all logits / temperature + Gumbel noise follows
    their softmax (Gumbel, 1954; Maddison et al., 2014, arXiv:1411.0030). Each row's noise is its own seed's.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, device: str) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.temperature = temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """``scores`` (rows, vocab) as the model gave them."""
        waited = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(waited, self.generators, strict=True):
            row.exponential_(generator=generator)
        smallest = torch.finfo(torch.float32).tiny  # the logarithm of 0 would win, likely token or not
        return (scores / self.temperature).sub_(waited.clamp_(min=smallest).log_())


def _settings(policy: Policy, max_new_tokens: int, min_new_tokens: int, **options: Any) -> GenerationConfig:
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        min_new_tokens=min_new_tokens or None,
        use_cache=True,
        pad_token_id=policy.tokenizer.pad_token_id,
        eos_token_id=end_tokens(policy),
        **options,
    )


@contextmanager
def _only(policy: Policy, settings: GenerationConfig) -> Iterator[None]:
    """Makes ``settings`` all there is: transformers fills what they leave open with the model's own.

    Qwen2.5's own, for one, have a repetition penalty, and then the answer is no longer the most likely one.
    """
    own = policy.causal.generation_config
    policy.causal.generation_config = settings
    try:
        yield
    finally:
        policy.causal.generation_config = own


@contextmanager
def contiguous_head(policy: Policy) -> Iterator[None]:
    """Hands the head its input in one piece.

    The last position of every row is a slice with gaps; for such an input and a weight that doesn't train,
    torch's linear copies the whole head once per row: five times slower, and gigabytes.
    """
    head = policy.causal.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def end_tokens(policy: Policy) -> list[int]:
    """The tokens that end an answer: the tokenizer's and those of the model's own generation config."""
    own = policy.causal.generation_config.eos_token_id
    ids = [policy.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    return sorted({token for token in ids if token is not None})


def pad_left(prompts: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``input_ids`` and ``attention_mask``, each (batch, longest prompt)."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask
