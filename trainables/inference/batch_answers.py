"""Answers to a list of prompts, greedy or sampled. A sampled answer depends on its row's seed, not on its batch."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.inference.sampling import Sampling, limit
from trainables.models.architecture.decoding import pad_left
from trainables.scoring.generation import continue_greedily, row_seeds, sample_answers
from trainables.system.progress import report_progress
from trainables.tokenization.answer_text import decode_answers
from trainables.training.policy import Policy


def generate_answers(
    policy: Policy,
    prompts: Sequence[list[int]],
    row_numbers: Sequence[int],
    sampling: Sampling | None,
    max_new_tokens: int,
    batch_size: int,
) -> list[str]:
    """The answer to each prompt's token ids, decoded and stripped; greedy without ``sampling``.

    Of ``sampling``, only temperature, top-p, top-k and seed are used. The seed and a row's number (``row_numbers``)
    together seed what is drawn for that row.
    """
    if sampling is None:
        answers = continue_greedily(policy, prompts, max_new_tokens, batch_size)
    else:
        answers = _sampled_answers(policy, prompts, row_numbers, sampling, max_new_tokens, batch_size)
    return decode_answers(policy.tokenizer, answers)


def _sampled_answers(
    policy: Policy,
    prompts: Sequence[list[int]],
    row_numbers: Sequence[int],
    sampling: Sampling,
    max_new_tokens: int,
    batch_size: int,
) -> list[list[int]]:
    answers = dict[int, list[int]]()
    # Longest first: prompts of similar length share a batch, and running out of memory shows at once.
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        ids, mask = pad_left([prompts[index] for index in batch], policy.tokenizer.pad_token_id)
        seeds = [row_seeds(sampling.seed or 0, row_numbers[index], 1)[0] for index in batch]
        inputs = ids.to(policy.device), mask.to(policy.device)
        limits = [lambda ids, scores: limit(scores, sampling)]  # which applies the temperature
        output = sample_answers(
            policy, *inputs, max_new_tokens, 0, temperature=1.0, seeds=seeds, allowed=limits
        )
        # By the rows' places, because the batches are not in the rows' order.
        answers.update(zip(batch, output.tolist(), strict=True))
        report_progress("generating answers", len(answers), len(prompts))
    return [answers[index] for index in range(len(prompts))]
