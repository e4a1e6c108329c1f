"""The log-likelihood of given answers, and the tokens the model would have chosen instead, in one forward pass.

Logits are computed only where there is a label: the vocabulary is wide, and most positions have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from trainables.models.architecture.forward_probe import head_logits
from trainables.system.progress import report_progress
from trainables.tokenization.encode import IGNORED, Encoded
from trainables.tokenization.padding import padded, padded_inputs
from trainables.tokenization.token_table import Tokens
from trainables.training.policy import Policy

Result = TypeVar("Result")
LOGITS_AT_ONCE = 512  # positions; bounds the (positions, vocab) block that exists at a time


@dataclass(frozen=True)
class LogLikelihood:
    """Of one row's labelled tokens: their summed log-probability in nats, how many they are, and the token that is most
    likely in the place of each.
    """

    logprob: float
    tokens: int
    greedy_tokens: list[int]


def log_likelihoods(policy: Policy, rows: Sequence[Encoded], batch_size: int) -> list[LogLikelihood]:
    """The log-likelihood of every row's labelled tokens, in the order of ``rows``."""
    return map_in_batches(policy, rows, batch_size, _batch_log_likelihoods)


def mean_logprobs(likelihoods: Sequence[LogLikelihood]) -> np.ndarray:
    """Each row's log-probability per labelled token, in nats: (rows,)."""
    return np.array([row.logprob / max(row.tokens, 1) for row in likelihoods])


def map_in_batches(
    policy: Policy,
    rows: Sequence[Encoded],
    batch_size: int,
    score_batch: Callable[[Policy, Sequence[Encoded]], Iterable[Result]],
) -> list[Result]:
    """The results of ``score_batch`` for each row, in the order of ``rows``, with the policy in evaluation mode."""
    results: dict[int, Result] = {}
    # Rows of similar length share a batch: padding is work too. Longest first: running out of memory shows at once.
    lengths = rows.lengths if isinstance(rows, Tokens) else [len(row.input_ids) for row in rows]
    order = sorted(range(len(rows)), key=lambda index: lengths[index], reverse=True)
    with policy.evaluating():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            results.update(zip(batch, score_batch(policy, [rows[index] for index in batch]), strict=True))
            report_progress("computing log-likelihoods", len(results), len(rows))
    return [results[index] for index in range(len(rows))]


def _batch_log_likelihoods(policy: Policy, rows: Sequence[Encoded]) -> Iterator[LogLikelihood]:
    ids, mask, labels = (
        tensor.to(policy.device) for tensor in pad_right(rows, policy.tokenizer.pad_token_id)
    )
    counted = labels[:, 1:] != IGNORED  # (batch, tokens - 1): position i predicts token i + 1
    if not policy.behaviour.head_gives_logits:
        yield from _own_log_likelihoods(policy.causal, rows, ids, labels)
        return
    hidden = policy.causal.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    logprobs, greedy = token_logprobs(policy.causal, hidden[:, :-1][counted], labels[:, 1:][counted])
    # A boolean index goes row by row, so the (positions,) are split by each row's count.
    lengths = counted.sum(1).tolist()
    for row_logprobs, row_greedy in zip(logprobs.split(lengths), greedy.split(lengths), strict=True):
        yield LogLikelihood(row_logprobs.sum().item(), len(row_logprobs), row_greedy.tolist())


def _own_log_likelihoods(
    causal: Any, rows: Sequence[Encoded], ids: Tensor, labels: Tensor
) -> Iterator[LogLikelihood]:
    """By the logits of the model's own forward pass, one row at a time: they are for all of its positions."""
    for row, row_ids, row_labels in zip(rows, ids, labels, strict=True):
        length = len(row.input_ids)
        counted, targets = row_labels[1:length] != IGNORED, row_labels[1:length]
        logits = causal(input_ids=row_ids[None, :length], use_cache=False).logits[0, :-1][counted].float()
        logprobs = logits.gather(1, targets[counted][:, None])[:, 0] - logits.logsumexp(1)
        yield LogLikelihood(logprobs.sum().item(), len(logprobs), logits.argmax(1).tolist())


def token_logprobs(causal: Any, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Each target's log-probability and each position's most likely token.

    ``hidden``: (positions, width), ``targets``: (positions,); both results: (positions,).
    """
    # Empty first parts, as torch.cat needs one where nothing is labelled.
    logprobs, greedy = [hidden.new_zeros(0, dtype=torch.float32)], [targets.new_zeros(0)]
    for start in range(0, len(targets), LOGITS_AT_ONCE):
        logits = head_logits(causal, hidden[start : start + LOGITS_AT_ONCE])  # (positions, vocab)
        chosen = targets[start : start + LOGITS_AT_ONCE, None]
        # Not log_softmax, which would make a second (positions, vocab) block.
        logprobs.append(logits.gather(1, chosen)[:, 0] - logits.logsumexp(1))
        greedy.append(logits.argmax(1))
    return torch.cat(logprobs), torch.cat(greedy)


def last_hidden_states(model: Any, rows: Sequence[Encoded], policy: Policy) -> Tensor:
    """The hidden state at each row's last token, in 32 bits: (rows, width)."""
    ids, mask, _ = (tensor.to(policy.device) for tensor in pad_right(rows, policy.tokenizer.pad_token_id))
    hidden = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return hidden[torch.arange(len(rows)), mask.sum(1) - 1].float()


def pad_right(rows: Sequence[Encoded], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """``input_ids``, ``attention_mask``, ``labels``, each (batch, longest row)."""
    inputs = padded_inputs([row.input_ids for row in rows], pad)
    return inputs["input_ids"], inputs["attention_mask"], padded([row.labels for row in rows], IGNORED)
