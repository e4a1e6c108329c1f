"""Greedy answers, verified against a draft first: as far as the model agrees with the draft, it generates nothing.

Greedy decoding takes the most likely token at every place. With the reference answer as the draft, one forward pass
says how far the model would have followed it; the model generates only from the first disagreement on. The answers are
those of plain greedy decoding: the draft-and-verify step of speculative decoding (Leviathan et al., 2023,
arXiv:2211.17192) at temperature 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig

from trainables.models.architecture.decoding import pad_left
from trainables.scoring.likelihood import LogLikelihood
from trainables.system.progress import report_progress
from trainables.tokenization.answer_text import decode_answers
from trainables.tokenization.encode import Encoded
from trainables.training.policy import Policy

Processor = Callable[[Tensor, Tensor], Tensor]  # a logits processor of transformers
Processors = Callable[
    [Sequence[int]], Sequence[Processor]
]  # those of some rows of a batch, by their places in it
PREVIEWED_ROWS, PREVIEW_TOKENS = 4, 48  # answers, and tokens of each, that only serve to be looked at
SPARE_ANSWER_TOKENS = 4  # an answer may be this much longer than the longest reference before it is cut off


def greedy_answers(
    policy: Policy,
    rows: Sequence[Encoded],
    likelihoods: Sequence[LogLikelihood],
    max_new_tokens: int,
    batch_size: int,
) -> list[str]:
    """The greedy answer to each row's prompt, in the order of ``rows``, without special tokens and stripped.

    ``likelihoods``: those of the same rows, whose answers are the drafts. An answer ends at an end-of-turn token, or
    after ``max_new_tokens``.
    """
    ends = set(end_tokens(policy))
    answers = [
        verified_prefix(row.answer, likelihood.greedy_tokens[-len(row.answer) :], ends)
        for row, likelihood in zip(rows, likelihoods, strict=True)
    ]
    unfinished = [index for index, answer in enumerate(answers) if answer[-1] not in ends]
    starts = [rows[index].prompt + answers[index] for index in unfinished]
    continuations = continue_greedily(policy, starts, max_new_tokens, batch_size)
    for index, continuation in zip(unfinished, continuations, strict=True):
        answers[index] = answers[index] + continuation
    # Verified tokens count as generated, so an answer has the length that it would have without a draft.
    kept = [answer[:max_new_tokens] for answer in answers]
    return decode_answers(policy.tokenizer, kept)


def generate_answers(
    policy: Policy, rows: Sequence[Encoded], likelihoods: Sequence[LogLikelihood], batch_size: int
) -> list[str]:
    """The greedy answer to each row's prompt, of at most :func:`max_answer_tokens` tokens."""
    return greedy_answers(policy, rows, likelihoods, max_answer_tokens(likelihoods), batch_size)


def max_answer_tokens(likelihoods: Sequence[LogLikelihood]) -> int:
    """Maximum number of tokens per answer: :data:`SPARE_ANSWER_TOKENS` more than the longest reference."""
    return max((row.tokens for row in likelihoods), default=0) + SPARE_ANSWER_TOKENS


def exact_matches(
    policy: Policy,
    rows: Sequence[Encoded],
    likelihoods: Sequence[LogLikelihood],
    references: Sequence[str],
    batch_size: int,
) -> tuple[list[str], list[float]]:
    """The greedy answer to each row's prompt, and 1 where it equals the reference, thoughts left out, else 0."""
    from trainables.data.thinking import answer_matches

    answers = generate_answers(policy, rows, likelihoods, batch_size)
    return answers, answer_matches(answers, references)


def preview_answers(
    policy: Policy, rows: Sequence[Encoded], likelihoods: Sequence[LogLikelihood]
) -> list[str | None]:
    """The beginning of the greedy answer to each of the first few prompts, and ``None`` for the other rows."""
    if not rows:
        return []
    first = likelihoods[:PREVIEWED_ROWS]
    texts = greedy_answers(policy, rows[:PREVIEWED_ROWS], first, PREVIEW_TOKENS, PREVIEWED_ROWS)
    return [*texts, *[None] * (len(rows) - len(texts))]


def verified_prefix(draft: Sequence[int], choices: Sequence[int], ends: set[int]) -> list[int]:
    """The model's greedy tokens as far as the draft verifies them: up to the first that differs, or ends the answer.

    ``choices[i]`` is the model's greedy token after ``draft[:i]``.

    >>> verified_prefix([5, 6, 7], [5, 9, 7], ends={0})
    [5, 9]
    >>> verified_prefix([5, 0, 7], [5, 0, 8], ends={0})
    [5, 0]
    """
    verified: list[int] = []
    for drafted, choice in zip(draft, choices, strict=True):
        verified.append(choice)
        if choice != drafted or choice in ends:
            break
    return verified


def continue_greedily(
    policy: Policy,
    starts: Sequence[list[int]],
    max_new_tokens: int,
    batch_size: int,
    min_new_tokens: int = 0,
) -> list[list[int]]:
    """The greedy continuation of each start, in the order of ``starts``; padding may follow an end token."""
    results: dict[int, list[int]] = {}
    order = sorted(range(len(starts)), key=lambda index: len(starts[index]), reverse=True)
    with _generating(policy, max_new_tokens, min_new_tokens) as generate:
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            ids, mask = pad_left([starts[index] for index in batch], policy.tokenizer.pad_token_id)
            output = generate(ids.to(policy.device), mask.to(policy.device), lambda rows: ())
            results.update(zip(batch, output.tolist(), strict=True))
            report_progress("generating answers", len(results), len(starts))
    return [results[index] for index in range(len(starts))]


def sample_answers(
    policy: Policy,
    ids: Tensor,
    mask: Tensor,
    max_new_tokens: int,
    min_new_tokens: int,
    temperature: float,
    seeds: Sequence[int],
    allowed: Sequence[Processor] = (),
) -> Tensor:
    """Answers sampled from the policy's distribution, padded after their end tokens: (rows, tokens of the longest).

    ``ids`` and ``mask`` (rows, tokens) are prompts that are padded on the left. No answer ends before it has
    ``min_new_tokens`` tokens. Each row is sampled with its own of the ``seeds``, so the rows beside it don't matter.
    ``allowed``: logits processors of transformers, which leave only some tokens to sample from.
    """

    def processors(rows: Sequence[int]) -> list[Processor]:
        return [*allowed, _GumbelNoise([seeds[row] for row in rows], temperature, policy.device)]

    # Greedy, as the noise makes the largest logit a sample; transformers would draw
    # all rows from one generator.
    with _generating(policy, max_new_tokens, min_new_tokens) as generate:
        return generate(ids, mask, processors)


def row_seeds(seed: int, first: int, count: int) -> list[int]:
    """A seed for each of ``count`` sampled rows, from number ``first`` on, in a trial with this ``seed``."""
    numbers = range(first, first + count)
    return [int(np.random.SeedSequence([seed, n]).generate_state(1, np.uint64)[0]) for n in numbers]


class _GumbelNoise:
    """A logits processor that turns greedy decoding into sampling; each row has its own seed.

    The largest of logits / temperature + Gumbel noise is distributed as the softmax of logits / temperature (Gumbel,
    1954; Maddison et al., 2014, arXiv:1411.0030).
    """

    def __init__(self, seeds: Sequence[int], temperature: float, device: str) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.temperature = temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The model's logits ``scores`` with noise added: (rows, vocab)."""
        # Gumbel noise is -log of an exponential variable.
        exponential = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(exponential, self.generators, strict=True):
            row.exponential_(generator=generator)
        smallest = torch.finfo(torch.float32).tiny  # -log(0) would win, however unlikely its token
        return (scores / self.temperature).sub_(exponential.clamp_(min=smallest).log_())


@contextmanager
def _generating(
    policy: Policy, max_new_tokens: int, min_new_tokens: int
) -> Iterator[Callable[[Tensor, Tensor, Processors], Tensor]]:
    """Gives a function from prompts, padded on the left, to their answers by the model's own ``generate``.

    It takes ``ids`` and ``mask`` (rows, tokens) and gives (rows, tokens of the longest). The rows are answered one by
    one where they would change one another.
    """
    with policy.evaluating(), contiguous_head_input(policy):
        generation = policy.generates
        settings = GenerationConfig(
            max_new_tokens=max_new_tokens,
            min_new_tokens=min_new_tokens or None,
            do_sample=False,
            use_cache=generation.cached,
            pad_token_id=policy.tokenizer.pad_token_id,
            eos_token_id=end_tokens(policy),
        )
        with _exact_generation_config(policy, settings):
            yield partial(_together if generation.padded else _one_by_one, policy)


def _together(policy: Policy, ids: Tensor, mask: Tensor, processors: Processors) -> Tensor:
    return _generate(policy, ids, mask, processors(range(len(ids))))


def _one_by_one(policy: Policy, ids: Tensor, mask: Tensor, processors: Processors) -> Tensor:
    prompts = [row[kept.bool()][None] for row, kept in zip(ids, mask, strict=True)]
    answers = [
        _generate(policy, prompt, torch.ones_like(prompt), processors([row]))[0]
        for row, prompt in enumerate(prompts)
    ]
    return pad_sequence(answers, batch_first=True, padding_value=policy.tokenizer.pad_token_id)


def _generate(policy: Policy, ids: Tensor, mask: Tensor, processors: Sequence[Processor]) -> Tensor:
    output = policy.causal.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=policy.causal.generation_config,
        logits_processor=[*processors],
    )
    answers: Tensor = output[:, ids.shape[1] :]  # generate returns the prompts, too
    return answers


@contextmanager
def _exact_generation_config(policy: Policy, settings: GenerationConfig) -> Iterator[None]:
    """Generates with ``settings`` alone: transformers fills what they leave unset from the model's own.

    Checked with transformers 5.24. Qwen2.5's set a repetition penalty, so the answer would not be the greedy one.
    """
    before = policy.causal.generation_config
    policy.causal.generation_config = settings
    try:
        yield
    finally:
        policy.causal.generation_config = before


@contextmanager
def contiguous_head_input(policy: Policy) -> Iterator[None]:
    """Makes the head's input contiguous.

    The last position of every row is a strided slice. For such an input and a frozen weight, torch's linear layer
    copies the whole head once per row (seen with torch 2.13): five times slower, and gigabytes.
    """
    head = policy.causal.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def end_tokens(policy: Policy) -> list[int]:
    """The tokens that end an answer: the tokenizer's end of sequence and those of the model's generation config."""
    ends = policy.causal.generation_config.eos_token_id
    ids = [policy.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    return sorted({token for token in ids if token is not None})
