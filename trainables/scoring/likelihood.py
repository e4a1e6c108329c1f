"""How likely a model finds given answers, and what it would have said instead, in one forward pass.

Logits are computed only where there is a label: the vocabulary is wide, and most positions are nobody's
business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from trainables.system.progress import tell
from trainables.tokenization.encode import IGNORED, Encoded
from trainables.tokenization.token_table import Tokens
from trainables.training.policy import Policy

Found = TypeVar("Found")
LOGITS_AT_ONCE = 512  # positions; bounds the (positions, vocab) block that exists at a time


@dataclass(frozen=True)
class Judged:
    """One row's labelled tokens: summed log-probability in nats, how many, and the model's first choices."""

    logprob: float
    tokens: int
    choices: list[int]


def judge(policy: Policy, rows: Sequence[Encoded], batch_size: int) -> list[Judged]:
    """Every row judged, in the order of ``rows``."""
    return in_batches(policy, rows, batch_size, _batch)


def mean_logprobs(judged: Sequence[Judged]) -> np.ndarray:
    """Of each row, per labelled token, in nats: (rows,)."""
    return np.array([found.logprob / max(found.tokens, 1) for found in judged])


def in_batches(
    policy: Policy,
    rows: Sequence[Encoded],
    batch_size: int,
    batch: Callable[[Policy, Sequence[Encoded]], Iterable[Found]],
) -> list[Found]:
    """What ``batch`` finds for each row while the policy is evaluated, in the order of ``rows``."""
    results: dict[int, Found] = {}
    # Like lengths together: padding is work too.
    lengths = rows.lengths if isinstance(rows, Tokens) else [len(row.input_ids) for row in rows]
    order = sorted(range(len(rows)), key=lambda index: lengths[index], reverse=True)
    with policy.evaluating():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            results.update(zip(chosen, batch(policy, [rows[index] for index in chosen]), strict=True))
            tell("judging rows", len(results), len(rows))
    return [results[index] for index in range(len(rows))]


def _batch(policy: Policy, rows: Sequence[Encoded]) -> Iterator[Judged]:
    ids, mask, labels = (
        tensor.to(policy.device) for tensor in pad_right(rows, policy.tokenizer.pad_token_id)
    )
    hidden = policy.causal.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    counted = labels[:, 1:] != IGNORED  # (batch, tokens - 1): position i predicts token i + 1
    logprobs, choices = token_logprobs(policy.causal, hidden[:, :-1][counted], labels[:, 1:][counted])
    lengths = counted.sum(1).tolist()
    for chosen, own in zip(logprobs.split(lengths), choices.split(lengths), strict=True):
        yield Judged(chosen.sum().item(), len(chosen), own.tolist())


def token_logprobs(causal: Any, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Each target's log-probability and each position's most likely token.

    ``hidden``: (positions, width), ``targets``: (positions,); both results: (positions,).
    """
    logprobs, choices = [hidden.new_zeros(0, dtype=torch.float32)], [targets.new_zeros(0)]
    for start in range(0, len(targets), LOGITS_AT_ONCE):
        logits = head_logits(causal, hidden[start : start + LOGITS_AT_ONCE])
        chosen = targets[start : start + LOGITS_AT_ONCE, None]
        logprobs.append(logits.gather(1, chosen)[:, 0] - logits.logsumexp(1))
        choices.append(logits.argmax(1))
    return torch.cat(logprobs), torch.cat(choices)


def head_logits(causal: Any, hidden: Tensor) -> Tensor:
    """The logits after hidden states (positions, width), in 32 bits: (positions, vocab)."""
    logits = causal.get_output_embeddings()(hidden).float()
    cap = getattr(causal.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def last_hidden(model: Any, rows: Sequence[Encoded], policy: Policy) -> Tensor:
    """The hidden state at each row's last token, in 32 bits: (rows, width)."""
    ids, mask, _ = (tensor.to(policy.device) for tensor in pad_right(rows, policy.tokenizer.pad_token_id))
    hidden = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return hidden[torch.arange(len(rows)), mask.sum(1) - 1].float()


def pad_right(rows: Sequence[Encoded], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """``input_ids``, ``attention_mask``, ``labels``, each (batch, longest row)."""
    width = max(len(row.input_ids) for row in rows)
    ids = torch.tensor([row.input_ids + [pad] * (width - len(row.input_ids)) for row in rows])
    mask = torch.tensor([[1] * len(row.input_ids) + [0] * (width - len(row.input_ids)) for row in rows])
    labels = torch.tensor([row.labels + [IGNORED] * (width - len(row.labels)) for row in rows])
    return ids, mask, labels
