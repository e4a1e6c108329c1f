"""The logits of a head and the probabilities of tokens, some tokens at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from trainables.training.label_head import sizes


@dataclass(frozen=True)
class Head:
    """A linear head: ``weight`` (vocab, width), ``bias`` (vocab,). ``cap``: the soft cap of its logits.

    ``dtype``: of the products. ``weighs_tokens_alike``: whether the loss weighs all tokens alike.
    """

    weight: Tensor
    bias: Tensor | None
    cap: float | None
    dtype: torch.dtype
    weighs_tokens_alike: bool

    def chunks(self, count: int) -> Iterator[slice]:
        """The parts of ``count`` tokens whose logits exist at a time."""
        size = sizes.cpu_chunk_tokens(max(1, count), self.weight.shape[0], self.dtype.itemsize)
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def logits(self, hidden: Tensor) -> Tensor:
        """(tokens, width) to (tokens, vocab), without bias and cap."""
        hidden = hidden.to(self.dtype)
        out = hidden.new_empty(len(hidden), self.weight.shape[0])
        for rows, weight in self._pieces():
            torch.mm(hidden, weight.t(), out=out[:, rows])
        return out

    def sum_of_rows(self, factors: Tensor) -> Tensor:
        """The weight's rows by ``factors`` (tokens, vocab), added up in 32 bits: (tokens, width)."""
        total = factors.new_zeros(len(factors), self.weight.shape[1], dtype=torch.float32)
        for rows, weight in self._pieces():
            if self.dtype == torch.float32:
                total.addmm_(factors[:, rows], weight)
            else:
                total += factors[:, rows] @ weight
        return total

    @cached_property
    def _cast(self) -> Tensor:
        return self.weight.detach().to(self.dtype)

    def _pieces(self) -> Iterator[tuple[slice, Tensor]]:
        """The weight's rows in the dtype of products; those that are there in it at once."""
        weight = self.weight.detach()
        if weight.dtype == self.dtype:
            yield slice(None), weight
            return
        if self.dtype != torch.float32:  # in pieces, each of the products' sums would be rounded
            yield slice(None), self._cast
            return
        size = max(1, sizes.CAST_PIECE // weight.shape[1])
        piece = weight.new_empty(min(size, len(weight)), weight.shape[1], dtype=self.dtype)
        for start in range(0, len(weight), size):
            rows = weight[start : start + size]
            # In the place of the one before, which would else be there until this one is.
            yield slice(start, start + size), piece[: len(rows)].copy_(rows)


@dataclass
class Tokens:
    """Of some tokens, (tokens,) each in 32 bits: ``logprobs`` of their labels, ``others``: 1 - p of the label by the
    slope of a soft cap there, ``scale``: what the unscaled probabilities are multiplied with; and ``figures``.
    """

    logprobs: Tensor
    others: Tensor
    scale: Tensor
    figures: dict[str, Tensor]

    @classmethod
    def empty(cls, count: int, device: Any, figures: tuple[str, ...]) -> Tokens:
        made = torch.zeros(3 + len(figures), count, device=device)
        return cls(made[0], made[1], made[2], dict(zip(figures, made[3:], strict=True)))


def probabilities(head: Head, logits: Tensor, labels: Tensor, tokens: Tokens, part: slice) -> None:
    """Turns logits (tokens, vocab) into probabilities in their place, without scale, and 0 at the labels; those by the
    slope of a soft cap. Fills in the ``part`` of ``tokens``.
    """
    size = max(1, sizes.BLOCK // logits.shape[1])
    for start in range(0, len(logits), size):
        block, places = logits[start : start + size], labels[start : start + size, None]
        here = slice(part.start + start, part.start + start + len(block))
        z, slope = _capped(head, block.float())
        highest, own = z.amax(-1, keepdim=True), z.gather(1, places)
        if "mean_logits" in tokens.figures:
            tokens.figures["mean_logits"][here] = z.mean(-1)
        if "is_top1" in tokens.figures:
            # The first of equal logits counts as the highest.
            tokens.figures["is_top1"][here] = (z.argmax(-1, keepdim=True) == places)[:, 0].float()
        z -= highest
        own = own - highest
        # Entropy needs both the logits and their exponentials.
        shifted = z.clone() if "entropy" in tokens.figures else None
        z.exp_()
        if "log_sum_sq_probs" in tokens.figures:
            tokens.figures["log_sum_sq_probs"][here] = z.square().sum(-1)
        if shifted is not None:
            tokens.figures["entropy"][here] = shifted.mul_(z).nan_to_num_(0.0).sum(-1)
        rest = z.scatter_(1, places, 0.0).sum(-1, keepdim=True)
        total = rest + own.exp()
        if shifted is not None:
            tokens.figures["entropy"][here] = (
                total.log()[:, 0] - tokens.figures["entropy"][here] / total[:, 0]
            )
        if "log_sum_sq_probs" in tokens.figures:
            squares = tokens.figures["log_sum_sq_probs"][here]
            tokens.figures["log_sum_sq_probs"][here] = squares.log() - 2 * total.log()[:, 0]
        # ln of the total, which is near 1 where the label is nearly certain.
        tokens.logprobs[here] = (own - (rest + own.expm1()).log1p())[:, 0]
        others = rest / total
        if slope is not None:
            others = others * slope.gather(1, places)
            z *= slope
        tokens.others[here], tokens.scale[here] = others[:, 0], 1 / total[:, 0]
        if block.data_ptr() != z.data_ptr():
            block.copy_(z)


def _capped(head: Head, logits: Tensor) -> tuple[Tensor, Tensor | None]:
    """The logits with bias and cap, in their place, and the slope of the cap."""
    if head.bias is not None:
        logits += head.bias.detach()
    if head.cap is None:
        return logits, None
    bent = logits.div_(head.cap).tanh_()
    slope = 1 - bent.square()
    return bent.mul_(head.cap), slope
