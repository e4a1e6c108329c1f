"""How the next token is chosen: the most likely one, or one that is drawn, by a generator of each answer's own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """``temperature`` 0 takes the most likely token. ``top_p`` draws among the fewest tokens that make up that share
    (Holtzman et al., 2019, arXiv:1904.09751), ``top_k`` among the so many likeliest (0: all). The penalties are taken
    off the logits of what the answer has already: ``presence_penalty`` once, ``frequency_penalty`` each time (OpenAI's
    API). An answer ends before any of ``stop``.
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
        """Raises ``ValueError`` that names the setting which is out of its range."""
        ranges = {
            "max_new_tokens": (1, 2**20),
            "temperature": (0, 5),
            "top_p": (1e-6, 1),
            "top_k": (0, 2**20),
            "presence_penalty": (-2, 2),
            "frequency_penalty": (-2, 2),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name):g}; it goes from {low:g} to {high:g}")


@dataclass
class TokenSampler:
    """Chooses one answer's tokens, one after the other."""

    sampling: Sampling
    said: Counter[int] = field(default_factory=Counter)
    generator: torch.Generator = field(default_factory=torch.Generator)

    def __post_init__(self) -> None:
        if self.sampling.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(self.sampling.seed)

    def choose(self, logits: Tensor) -> int:
        """The next token; ``logits`` (vocab) as the model gave them."""
        scores = self._penalized(logits.float().cpu())
        token = self._drawn(scores) if self.sampling.temperature else int(scores.argmax())
        self.said[token] += 1
        return token

    def _penalized(self, scores: Tensor) -> Tensor:
        presence, frequency = self.sampling.presence_penalty, self.sampling.frequency_penalty
        if self.said and (presence or frequency):
            tokens = torch.tensor(list(self.said))
            times = torch.tensor(list(self.said.values()), dtype=scores.dtype)
            scores = scores.index_add(0, tokens, -(presence + frequency * times))
        return scores

    def _drawn(self, scores: Tensor) -> int:
        scores, order = (scores / self.sampling.temperature).sort(descending=True)
        chances = scores.softmax(-1)
        kept = self.sampling.top_k or len(chances)
        # The token that reaches `top_p` is among them.
        kept = min(kept, int((chances.cumsum(-1) < self.sampling.top_p).sum()) + 1)
        return int(order[torch.multinomial(chances[:kept], 1, generator=self.generator)])
