"""How the next token is chosen: the most likely one, or one that is drawn, by a random generator per answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

MIN_TEMPERATURE = 1e-4  # below it, the most likely token is taken, which a draw would be too
MIN_TOP_P = 1e-6
MAX_TOP_K = 2**20


@dataclass(frozen=True)
class Sampling:
    """How an answer is generated.

    ``temperature`` 0, or less than :data:`MIN_TEMPERATURE`, takes the most likely token. ``top_k`` draws from that many
    of the most likely tokens (0: from all), ``top_p`` from the fewest of these whose probabilities add up to that share
    (nucleus sampling; Holtzman et al., 2019, arXiv:1904.09751). The penalties are subtracted from the logits of tokens
    that the answer already has: ``presence_penalty`` once, ``frequency_penalty`` once per occurrence (as in OpenAI's
    API). An answer ends before the first of the ``stop`` texts.

    Raises ``ValueError`` that names a setting which is out of its range.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ranges = {
            "max_new_tokens": (1, 2**20),
            "temperature": (0, 5),
            "top_p": (MIN_TOP_P, 1),
            "top_k": (0, MAX_TOP_K),
            "presence_penalty": (-2, 2),
            "frequency_penalty": (-2, 2),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(
                    f"{name} is {getattr(self, name):g}; it must be between {low:g} and {high:g}"
                )


@dataclass
class TokenSampler:
    """Chooses the tokens of one answer, one after the other; ``counts`` of those it chose so far."""

    sampling: Sampling
    counts: Counter[int] = field(default_factory=Counter)
    generator: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        if self.sampling.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(self.sampling.seed)

    def next_token(self, logits: Tensor) -> int:
        """The next token's id, by the model's ``logits`` (vocab)."""
        # The answer's random generator belongs to the CPU, so its tokens are drawn there.
        scores = self._penalized(logits.float().cpu())
        token = int(scores.argmax()) if self.sampling.temperature < MIN_TEMPERATURE else self._drawn(scores)
        self.counts[token] += 1
        return token

    def _penalized(self, scores: Tensor) -> Tensor:
        presence, frequency = self.sampling.presence_penalty, self.sampling.frequency_penalty
        if self.counts and (presence or frequency):
            tokens = torch.tensor(list(self.counts))
            counts = torch.tensor(list(self.counts.values()), dtype=scores.dtype)
            scores = scores.index_add(0, tokens, -(presence + frequency * counts))
        return scores

    def _drawn(self, scores: Tensor) -> int:
        probabilities = limit(scores, self.sampling).softmax(-1)
        return int(torch.multinomial(probabilities, 1, generator=self.generator))


def limit(scores: Tensor, sampling: Sampling) -> Tensor:
    """``scores`` (..., vocab) divided by the temperature, -inf for tokens that may not be drawn.

    Those are the tokens beyond ``top_k``, then those beyond ``top_p`` of what is left, as in transformers.
    """
    # Without the largest, no score grows when it is divided by a temperature of almost 0.
    scores = (scores - scores.amax(-1, keepdim=True)) / max(sampling.temperature, MIN_TEMPERATURE)
    if 0 < sampling.top_k < scores.shape[-1]:
        smallest = scores.topk(sampling.top_k).values[..., -1:]
        scores = scores.masked_fill(scores < smallest, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = scores.sort(descending=True)
        reached = ordered.softmax(-1).cumsum(-1) >= sampling.top_p
        # The token that brings the sum to `top_p` is kept too.
        beyond = torch.cat([torch.zeros_like(reached[..., :1]), reached[..., :-1]], dim=-1)
        scores = scores.masked_fill(beyond.scatter(-1, order, beyond), -torch.inf)
    return scores
