"""Log-probabilities of labels on a CPU, whose gradients are computed along with them.

For a token with hidden state h and label y, the head's logits are z = W h (with a bias and a soft cap, where there are
such), p = softmax(z), and

    d ln p_y / dh = W^T (e_y - p)            d ln p_y / dW = (e_y - p) h^T

The first needs nothing of the loss but a factor per token, so that it is computed in the forward pass, from logits that
are there anyway; the second too, where the loss weighs all tokens alike, as a mean does (Hsu et al., 2024,
arXiv:2410.10989, section 3.2). A frozen head has no second one. Elsewhere logits are computed again for it.

The term of the label is kept apart: 1 - p_y is the sum of the others, and no difference of numbers near 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.models.cpu_products import multiplies_in_32_bits
from trainables.training.label_head import sizes
from trainables.training.label_head.probabilities import Head, Tokens, probabilities

# What TRL's trainers ask a fused head for, without gradients; in their order.
FIGURES = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


class LabelLogProbs(torch.autograd.Function):
    """ln p of each label: hidden (tokens, width), weight, bias, labels (tokens,) -> (tokens,), and the figures."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        head: Head,
        figures: tuple[str, ...],
        with_gradients: bool,
    ) -> tuple[Tensor | None, ...]:
        tokens = Tokens.empty(len(hidden), hidden.device, figures)
        of_hidden, of_weight, of_bias = (with_gradients and needed for needed in ctx.needs_input_grad[:3])
        gradient = hidden.new_empty(hidden.shape, dtype=torch.float32) if of_hidden else None
        sums = _WeightGradient(head) if (of_weight or of_bias) and head.weighs_tokens_alike else None
        for part in head.chunks(len(hidden)):
            logits = head.logits(hidden[part])
            probabilities(head, logits, labels[part], tokens, part)
            if gradient is not None:
                gradient[part] = _hidden_gradient(head, logits, labels[part], tokens, part)
            if sums is not None:
                sums.add(hidden, logits, labels, tokens, part)
        ctx.head, ctx.tokens, ctx.sums = head, tokens, sums
        ctx.save_for_backward(hidden, labels, gradient)
        given = [tokens.figures.get(name) for name in FIGURES]
        if given[3] is not None:
            given[3] = given[3].bool()
        ctx.mark_non_differentiable(*(figure for figure in given if figure is not None))
        ctx.set_materialize_grads(False)
        # A copy: the tokens are kept for the backward pass, and the result refers to that.
        return tokens.logprobs.clone(), *given

    @staticmethod
    def backward(ctx: Any, of_logprobs: Tensor | None, *ignored: Any) -> tuple[Tensor | None, ...]:
        nothing = (None,) * 4
        if of_logprobs is None:
            return None, None, None, *nothing
        hidden, labels, gradient = ctx.saved_tensors
        of_hidden, of_weight, of_bias = ctx.needs_input_grad[:3]
        result = (gradient * of_logprobs[:, None]).to(hidden.dtype) if of_hidden else None
        if not (of_weight or of_bias):
            return result, None, None, *nothing
        head, sums = ctx.head, ctx.sums
        if sums is None:
            sums = _weight_gradient(head, hidden, labels, ctx.tokens, of_logprobs)
        elif len(of_logprobs):
            if not torch.equal(of_logprobs, of_logprobs[:1].expand_as(of_logprobs)):
                raise RuntimeError("a loss that was said to weigh all tokens alike doesn't")
            sums.multiply(of_logprobs[0])
        # The sums are of the head's size, and multiplied by now. A second backward pass of a retained graph computes
        # them from logits again.
        ctx.sums = None
        return result, *sums.result(of_weight, of_bias), *nothing


def _hidden_gradient(head: Head, factors: Tensor, labels: Tensor, tokens: Tokens, part: slice) -> Tensor:
    """d ln p_y / dh of a chunk, whose logits are ``factors`` by now: (tokens, width)."""
    others = head.sum_of_rows(factors).mul_(-tokens.scale[part, None])
    rows = head.weight.detach()[labels].to(head.dtype).float()
    return others.addcmul_(rows, tokens.others[part, None])


def _weight_gradient(
    head: Head, hidden: Tensor, labels: Tensor, tokens: Tokens, weights: Tensor
) -> _WeightGradient:
    """The gradient of the head where each token has a weight of its own: (tokens,)."""
    sums = _WeightGradient(head)
    again = Tokens.empty(len(hidden), hidden.device, ())
    for part in head.chunks(len(hidden)):
        logits = head.logits(hidden[part])
        probabilities(head, logits, labels[part], again, part)
        sums.add(hidden, logits, labels, tokens, part, weights)
    return sums


class _WeightGradient:
    """The sum of (e_y - p) h^T over tokens, and of e_y - p for a bias; in 32 bits."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.weight = torch.zeros(head.weight.shape, dtype=torch.float32)
        self.bias = None if head.bias is None else torch.zeros(head.bias.shape, dtype=torch.float32)

    def add(
        self,
        hidden: Tensor,
        factors: Tensor,
        labels: Tensor,
        tokens: Tokens,
        part: slice,
        weights: Tensor | None = None,
    ) -> None:
        """Adds a chunk, whose logits are ``factors`` by now; ``weights`` (tokens,) are 1 where none are given."""
        h = hidden[part].to(self.head.dtype).float()
        scale, others = tokens.scale[part], tokens.others[part]
        if weights is not None:
            scale, others = scale * weights[part], others * weights[part]
        scaled = (h * scale[:, None]).to(factors.dtype)
        if factors.dtype == torch.float32:
            self.weight.addmm_(factors.t(), scaled, alpha=-1)
        else:
            size = max(1, sizes.CAST_PIECE // h.shape[1])
            for start in range(0, len(self.weight), size):
                rows = slice(start, start + size)
                self.weight[rows] -= factors[:, rows].t() @ scaled
        self.weight.index_add_(0, labels[part], h * others[:, None])
        if self.bias is not None:
            self.bias -= (factors.float() * scale[:, None]).sum(0)
            self.bias.index_add_(0, labels[part], others)

    def multiply(self, factor: Tensor) -> None:
        self.weight *= factor
        if self.bias is not None:
            self.bias *= factor

    def result(self, of_weight: bool, of_bias: bool) -> tuple[Tensor | None, Tensor | None]:
        """The gradients that are wanted, in the dtype of what they are of."""
        head = self.head
        weight = self.weight.to(head.weight.dtype) if of_weight else None
        return weight, self.bias.to(head.bias.dtype) if of_bias and self.bias is not None else None  # type: ignore[union-attr]


@dataclass(frozen=True)
class LabelHead:
    """Stands in the place of TRL's function of a fused head on CPUs; see ``training.fused_head``."""

    weighs_tokens_alike: bool

    def apply(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        temperature: float,
        chunk_size: int,
        cap: float | None = None,
        logit_scale: float = 1.0,
        outputs: tuple[str, ...] = FIGURES,
    ) -> tuple[Tensor | None, ...]:
        """TRL's arguments and results. With a soft cap, ``temperature`` must be 1."""
        if logit_scale != 1 or (temperature != 1 and cap is not None):
            raise ValueError(
                "logits that are scaled after or before a soft cap are computed by the model's own forward pass"
            )
        if temperature != 1:
            # (W h + b) / t = W (h / t) + b / t; the divisions are autograd's.
            hidden = hidden / temperature
            bias = bias / temperature if bias is not None else None
        on = hidden.device.type
        dtype = torch.get_autocast_dtype(on) if torch.is_autocast_enabled(on) else hidden.dtype
        if multiplies_in_32_bits(dtype):
            dtype = torch.float32
        head = Head(weight, bias, cap, dtype, self.weighs_tokens_alike)
        with torch.autocast(on, enabled=False):
            return LabelLogProbs.apply(
                hidden,
                weight,
                bias,
                labels,
                head,
                tuple(name for name in FIGURES if name in outputs),
                torch.is_grad_enabled(),
            )
