"""The formulas of proximal policy optimization, apart from any model.

Tensors are (answers, tokens), with a place for each token of a sampled answer. ``counted`` (answers, tokens) is true up
to an answer's end and false on its padding, where the other tensors may hold any finite number.

``sum_over_workers`` adds a tensor up over all workers that share a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def lone_worker(sum: Tensor) -> Tensor:
    """``sum_over_workers`` of a worker that trains alone."""
    return sum


def whiten(
    values: Tensor,
    counted: Tensor,
    shift_mean: bool = True,
    sum_over_workers: Callable[[Tensor], Tensor] = lone_worker,
) -> Tensor:
    """Scales the counted values to variance 1, and with ``shift_mean`` to mean 0; the others become 0.

    The variance has Bessel's correction, as in TRL's ``masked_whiten``; that of one value is 0. As 1e-8 is added to the
    variance, values that are all equal become their mean, or 0 with ``shift_mean``.
    """
    count = sum_over_workers(counted.sum())
    mean = sum_over_workers((values * counted).sum()) / count.clamp(min=1)
    # Around the mean of all workers, which takes a second exchange: sums of squares alone would lose digits.
    squares = sum_over_workers(((values - mean) ** 2 * counted).sum())
    whitened = (values - mean) * torch.rsqrt(squares / (count - 1).clamp(min=1) + 1e-8)
    return (whitened if shift_mean else whitened + mean) * counted


def advantages(
    rewards: Tensor, values: Tensor, counted: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimates and returns, both (answers, tokens).

    A_t = sum over l of (gamma lam)^l d_(t+l) with d_t = r_t + gamma V_(t+1) - V_t, and V after an answer's end is 0
    (Schulman et al., 2015, arXiv:1506.02438, equations 11 to 16). The return is A_t + V_t.
    """
    rewards, values = rewards * counted, values * counted
    # V_(t+1), with 0 behind the last place; `values` is 0 behind an answer's end.
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    errors = (rewards + gamma * next_values - values) * counted  # d_t
    estimates = torch.zeros_like(errors)
    estimate = torch.zeros_like(errors[:, 0])  # (answers,)
    # Errors are 0 on padding, so the estimate is still 0 when it reaches an answer's last token.
    for place in reversed(range(errors.shape[1])):  # A_t = d_t + gamma lam A_(t+1)
        estimate = errors[:, place] + gamma * lam * estimate
        estimates[:, place] = estimate
    return estimates, estimates + values


def policy_loss(new: Tensor, old: Tensor, advantage: Tensor, clip_range: float) -> Tensor:
    """Each token's -min(ratio A, clip(ratio, 1 - c, 1 + c) A), with ratio = exp(new - old).

    Schulman et al., 2017, arXiv:1707.06347, equation 7. ``new`` and ``old`` are log-probabilities in nats.
    """
    ratio = torch.exp(new - old)
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return torch.maximum(-advantage * ratio, -advantage * clipped)


def value_loss(new: Tensor, old: Tensor, returns: Tensor, clip_range: float | None) -> Tensor:
    """Each token's max of (V - R)^2 / 2 and the same with V clipped to ``old`` +- ``clip_range``.

    ``None``: not clipped. As in OpenAI's baselines (``ppo2``) and Ouyang et al., 2022.
    """
    loss = (new - returns) ** 2
    if clip_range is not None:
        clipped = old + (new - old).clamp(-clip_range, clip_range)
        loss = torch.maximum(loss, (clipped - returns) ** 2)
    return 0.5 * loss


def kl_estimate(policy: Tensor, reference: Tensor, estimator: str) -> Tensor:
    """Each sampled token's estimate of KL(policy || reference), from both log-probabilities, in nats.

    ``k1``: ln p/q, unbiased. ``k3``: q/p - 1 - ln q/p, also unbiased, and never below 0 (Schulman, 2020,
    http://joschu.net/blog/kl-approx.html).
    """
    difference = policy - reference
    # expm1 keeps the digits that exp(x) - 1 would cancel where both policies nearly agree.
    return difference if estimator == "k1" else torch.expm1(-difference) + difference


def token_rewards(scores: Tensor, kl: Tensor, counted: Tensor, coefficient: float) -> Tensor:
    """-``coefficient`` x ``kl`` at every token; at an answer's last token its score is added: (answers, tokens).

    ``scores`` (answers,). Ziegler et al., 2019, arXiv:1909.08593, equation 2, spread over the tokens.
    """
    rewards = -coefficient * kl * counted
    # (answers,) places of the last tokens; every answer has at least one, as an end token counts.
    rewards[torch.arange(len(scores)), counted.sum(1) - 1] += scores
    return rewards


def normalize(scores: Tensor, sum_over_workers: Callable[[Tensor], Tensor] = lone_worker) -> Tensor:
    """Scores scaled to mean 0 and variance 1 over the batch, 0 where all are equal: (answers,)."""
    return whiten(scores, torch.ones_like(scores, dtype=torch.bool), sum_over_workers=sum_over_workers)


@dataclass(frozen=True)
class KLController:
    """The KL coefficient: fixed without a ``target``, else adapted to keep the KL at ``target`` nats per answer.

    e = clip(KL / target - 1, -0.2, 0.2); coefficient *= 1 + e answers / horizon (Ziegler et al., 2019,
    arXiv:1909.08593, section 2.2, where K = 1 / horizon for each answer).

    >>> KLController(0.1, target=2.0, horizon=100).after(kl=9.0, answers=10).coefficient
    0.10200000000000001
    """

    coefficient: float
    target: float | None = None
    horizon: int = 10_000  # answers

    def after(self, kl: float, answers: int) -> KLController:
        """The controller after a batch whose answers had a mean KL of ``kl``."""
        if self.target is None:
            return self
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        return KLController(
            self.coefficient * (1 + error * answers / self.horizon), self.target, self.horizon
        )


def up_to_end(answers: Tensor, ends: list[int]) -> Tensor:
    """Which tokens belong to each answer, (answers, tokens): all up to its first end token, that one included.

    >>> up_to_end(torch.tensor([[5, 0, 0], [0, 5, 5], [5, 5, 5]]), ends=[0]).int().tolist()
    [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    """
    ended = torch.isin(answers, torch.tensor(ends, device=answers.device)).int()
    # The end tokens strictly before each place: 0 up to the first end token and on it.
    return ended.cumsum(1) - ended == 0
