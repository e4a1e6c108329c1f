"""The formulas of proximal policy optimization, apart from any model.

Everything is (answers, tokens), a place for each token of a sampled answer; ``counted`` (answers, tokens) is true up
to the answer's end and false on what pads it. What is not counted may hold any finite number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def here(sum: Tensor) -> Tensor:
    """What one worker that trains alone has is all there is."""
    return sum


def whiten(
    values: Tensor, counted: Tensor, shift_mean: bool = True, everywhere: Callable[[Tensor], Tensor] = here
) -> Tensor:
    """Scaled to variance 1 over what counts, and with ``shift_mean`` to mean 0. Values that are all equal become
    their mean (0 with ``shift_mean``): 1e-8 stands in for their variance.

    The variance has Bessel's correction, as in TRL's ``masked_whiten``; one value has variance 0. ``everywhere`` adds
    up a sum over the workers that share the values.
    """
    count = everywhere(counted.sum())
    mean = everywhere((values * counted).sum()) / count.clamp(min=1)
    squares = everywhere(((values - mean) ** 2 * counted).sum())
    whitened = (values - mean) * torch.rsqrt(squares / (count - 1).clamp(min=1) + 1e-8)
    return (whitened if shift_mean else whitened + mean) * counted


def advantages(
    rewards: Tensor, values: Tensor, counted: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalized advantages and the returns they make with the values; both (answers, tokens).

    A_t = sum over l of (gamma lam)^l d_(t+l) with d_t = r_t + gamma V_(t+1) - V_t, and V after an answer's end is 0
    (Schulman et al., 2015, arXiv:1506.02438, equations 11 to 16). The return is A_t + V_t.
    """
    rewards, values = rewards * counted, values * counted
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    errors = (rewards + gamma * following - values) * counted
    found = torch.zeros_like(errors)
    ahead = torch.zeros_like(errors[:, 0])
    for place in reversed(range(errors.shape[1])):
        ahead = errors[:, place] + gamma * lam * ahead
        found[:, place] = ahead
    return found, found + values


def policy_loss(new: Tensor, old: Tensor, advantage: Tensor, clip_range: float) -> Tensor:
    """Each token's -min(ratio A, clip(ratio, 1 - c, 1 + c) A), with ratio = exp(new - old).

    Schulman et al., 2017, arXiv:1707.06347, equation 7. ``new`` and ``old`` are log-probabilities in nats.
    """
    ratio = torch.exp(new - old)
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return torch.maximum(-advantage * ratio, -advantage * clipped)


def value_loss(new: Tensor, old: Tensor, returns: Tensor, clip_range: float | None) -> Tensor:
    """Each token's max of (V - R)^2 / 2 and the same with V at most ``clip_range`` away from what it was.

    As in OpenAI's baselines (``ppo2``) and Ouyang et al., 2022; ``None``: not clipped.
    """
    loss = (new - returns) ** 2
    if clip_range is not None:
        near = old + (new - old).clamp(-clip_range, clip_range)
        loss = torch.maximum(loss, (near - returns) ** 2)
    return 0.5 * loss


def kl_estimate(policy: Tensor, reference: Tensor, estimator: str) -> Tensor:
    """Each sampled token's estimate of KL(policy || reference), from both log-probabilities, in nats.

    ``k1``: ln p/q, unbiased. ``k3``: q/p - 1 - ln q/p, unbiased too, never below 0 (Schulman, 2020,
    http://joschu.net/blog/kl-approx.html).
    """
    difference = policy - reference
    return difference if estimator == "k1" else torch.expm1(-difference) + difference


def token_rewards(scores: Tensor, kl: Tensor, counted: Tensor, coefficient: float) -> Tensor:
    """-coefficient x kl at every token, and at an answer's last one its score too: (answers, tokens).

    ``scores`` (answers,). Ziegler et al., 2019, arXiv:1909.08593, equation 2, spread over the tokens.
    """
    rewards = -coefficient * kl * counted
    rewards[torch.arange(len(scores)), counted.sum(1) - 1] += scores
    return rewards


def normalized(scores: Tensor, everywhere: Callable[[Tensor], Tensor] = here) -> Tensor:
    """The scores with mean 0 and variance 1 over the batch, 0 where all are equal: (answers,)."""
    return whiten(scores, torch.ones_like(scores, dtype=torch.bool), everywhere=everywhere)


@dataclass
class KLController:
    """The KL coefficient: fixed without a ``target``, else drawn to where the KL is ``target`` nats per answer.

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
    """Which tokens belong to each answer: all up to its first end token, that one included.

    >>> up_to_end(torch.tensor([[5, 0, 0], [0, 5, 5], [5, 5, 5]]), ends=[0]).int().tolist()
    [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    """
    ended = torch.isin(answers, torch.tensor(ends, device=answers.device)).int()
    return ended.cumsum(1) - ended == 0
