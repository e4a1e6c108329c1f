"""Log-probabilities of labels and their gradients, against torch's own arithmetic in 64 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from trainables.training.label_head import logprobs, sizes
from trainables.training.label_head.logprobs import FIGURES, LabelHead
from trainables.training.label_head.probabilities import Head

TOKENS, WIDTH, VOCABULARY = 37, 16, 1500
CLOSE = {torch.float32: 2e-5, torch.bfloat16: 2e-2}  # relative distances that rounding explains


@dataclass
class Inputs:
    """Hidden states, a head, labels of which the first half are the likeliest tokens, and the loss's weights."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    labels: Tensor
    cap: float | None
    weights: Tensor

    @classmethod
    def random(
        cls, dtype: torch.dtype, cap: float | None, bias: bool, trained: bool, alike: bool, scale: float = 0.3
    ) -> Inputs:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        hidden = draw(TOKENS, WIDTH).to(dtype)
        weight = (scale * draw(VOCABULARY, WIDTH)).to(dtype)
        labels = torch.randint(VOCABULARY, (TOKENS,), generator=generator)
        labels[: TOKENS // 2] = (hidden @ weight.t()).argmax(-1)[: TOKENS // 2]
        return cls(
            hidden.requires_grad_(),
            weight.requires_grad_(trained),
            draw(VOCABULARY).to(dtype).requires_grad_(trained) if bias else None,
            labels,
            cap,
            torch.full((TOKENS,), -1 / TOKENS) if alike else draw(TOKENS),
        )

    def figures(self) -> dict[str, Tensor]:
        """What the head is to give, in 64 bits."""
        logits = self.hidden.double() @ self.weight.double().t()
        logits = logits if self.bias is None else logits + self.bias.double()
        logits = logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)
        logprobs = logits.log_softmax(-1)
        return {
            "log_probs": logprobs.gather(1, self.labels[:, None])[:, 0],
            "entropy": -(logprobs.exp() * logprobs).sum(-1),
            "log_sum_sq_probs": (2 * logprobs).logsumexp(-1),
            "mean_logits": logits.mean(-1),
            "is_top1": (logits.argmax(-1) == self.labels).double(),
        }

    def gradients(self, logprobs: Tensor) -> list[Tensor]:
        """Those of the weighted sum of log-probabilities, which are cleared."""
        (logprobs * self.weights).sum().backward()
        leaves = [leaf for leaf in (self.hidden, self.weight, self.bias) if leaf is not None]
        found = [leaf.grad for leaf in leaves if leaf.grad is not None]
        for leaf in leaves:
            leaf.grad = None
        return found

    def apply(self, alike: bool, outputs: tuple[str, ...] = ("log_probs",)) -> tuple[Tensor | None, ...]:
        return LabelHead(alike).apply(
            self.hidden, self.weight, self.bias, self.labels, 1.0, 0, self.cap, 1.0, outputs
        )


def distance(found: Tensor, expected: Tensor) -> float:
    return float(
        (found.detach().double() - expected.detach().double()).norm() / expected.detach().double().norm()
    )


@pytest.mark.parametrize(
    ("dtype", "autocast", "in_32_bits"),
    [
        (torch.float32, False, False),
        (torch.float32, True, False),
        (torch.float32, True, True),
        (torch.bfloat16, False, True),
        (torch.bfloat16, False, False),
    ],
)
@pytest.mark.parametrize("cap", [None, 5.0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("trained", "alike"), [(False, False), (True, False), (True, True)])
def test_log_probabilities_figures_and_gradients_are_those_of_64_bits(
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    autocast: bool,
    in_32_bits: bool,
    cap: float | None,
    bias: bool,
    trained: bool,
    alike: bool,
) -> None:
    monkeypatch.setattr(logprobs, "multiplies_in_32_bits", lambda dtype: in_32_bits)
    monkeypatch.setattr(sizes, "CPU_LOGIT_BYTES", 10 * 4 * VOCABULARY)  # several parts, the last one smaller
    monkeypatch.setattr(sizes, "CAST_PIECE", 400 * WIDTH)  # here, too
    inputs = Inputs.random(dtype, cap, bias, trained, alike)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found_logprobs, *figures = inputs.apply(alike, ("log_probs", *FIGURES))
    close = CLOSE[torch.bfloat16 if autocast and not in_32_bits else dtype]
    expected = inputs.figures()
    assert torch.equal(inputs.hidden, Inputs.random(dtype, cap, bias, trained, alike).hidden)
    assert found_logprobs is not None
    assert distance(found_logprobs, expected["log_probs"]) < close
    for name, figure in zip(FIGURES, figures, strict=True):
        assert figure is not None
        # In 16 bits, logits may be equal.
        assert distance(figure, expected[name]) < (0.25 if name == "is_top1" else close)
    found, own = inputs.gradients(found_logprobs), inputs.gradients(expected["log_probs"].float())
    assert len(found) == len(own) == (1 if not trained else 2 + bias)
    for gradient, exact in zip(found, own, strict=True):
        assert gradient.dtype == dtype
        assert distance(gradient, exact) < close


def test_the_head_in_32_bits_is_cast_once_for_products_of_16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "multiplies_in_32_bits", lambda dtype: False)
    monkeypatch.setattr(sizes, "CPU_LOGIT_BYTES", 10 * 2 * VOCABULARY)  # several parts
    inputs = Inputs.random(torch.float32, None, False, True, True)
    cast: list[torch.dtype] = []
    own = Tensor.to

    def counting(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        if tensor.shape == inputs.weight.shape and args[0] != tensor.dtype:
            cast.append(args[0])
        return own(tensor, *args, **options)

    monkeypatch.setattr(Tensor, "to", counting)
    with torch.autocast("cpu", torch.bfloat16):
        inputs.apply(alike=True)
    assert cast == [torch.bfloat16]


def test_one_piece_of_a_cast_weight_is_there_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "CAST_PIECE", 400 * WIDTH)
    inputs = Inputs.random(torch.bfloat16, None, False, False, True)
    head = Head(inputs.weight, None, None, torch.float32, True)
    places = set()
    for rows, piece in head._pieces():
        places.add(piece.data_ptr())
        assert torch.equal(piece, inputs.weight[rows].float())
    assert len(places) == 1


@pytest.mark.parametrize("bias", [False, True])
def test_a_second_backward_pass_of_a_graph_that_is_retained_gives_the_same_gradients(bias: bool) -> None:
    inputs = Inputs.random(torch.float32, 5.0, bias, trained=True, alike=True)
    given, *_ = inputs.apply(alike=True)
    assert given is not None
    loss = (given * inputs.weights).sum()
    leaves = [leaf for leaf in (inputs.hidden, inputs.weight, inputs.bias) if leaf is not None]
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, leaves), strict=True):
        assert distance(other, one) < CLOSE[torch.float32]


def test_the_tile_of_a_gpu_is_trls() -> None:
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    assert sizes.GPU_TILE == (chunked_logprob.TOKEN_CHUNK_SIZE, utils._CHUNKED_LOGPROB_CHUNK_SIZE)


def test_the_gradient_of_a_token_that_is_nearly_certain_is_no_rounding() -> None:
    inputs = Inputs.random(torch.bfloat16, None, False, False, alike=True, scale=20.0)
    given, *_ = inputs.apply(alike=True)
    assert given is not None
    doubt = -given.detach().double().expm1()  # 1 - p
    certain = doubt < 1e-4
    assert certain.any()
    found = TOKENS * inputs.gradients(given)[0].double().norm(dim=-1)
    # W^T (e_y - p) is 1 - p times a difference of means of the head's rows.
    bound = 2 * inputs.weight.double().norm(dim=-1).max() * doubt
    assert (found <= bound + 1e-12)[certain].all()


def test_without_labels_there_is_nothing_and_gradients_are_0() -> None:
    hidden, weight = (torch.ones(count, 4, requires_grad=True) for count in (0, 9))
    labels = torch.zeros(0, dtype=torch.long)
    given, *_ = LabelHead(True).apply(hidden, weight, None, labels, 1.0, 0)
    assert given is not None
    given.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()


def test_a_loss_that_weighs_tokens_differently_is_refused_where_it_was_said_not_to() -> None:
    inputs = Inputs.random(torch.float32, None, False, trained=True, alike=False)
    given, *_ = inputs.apply(alike=True)
    assert given is not None
    with pytest.raises(RuntimeError, match="weigh all tokens alike"):
        inputs.gradients(given)


def test_no_gradient_is_computed_where_none_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables.training.label_head.probabilities import Head

    monkeypatch.setattr(Head, "sum_of_rows", lambda *ignored: pytest.fail("a gradient was computed"))
    with torch.no_grad():
        Inputs.random(torch.float32, None, False, True, True).apply(alike=True)


def test_what_the_forward_pass_held_is_free_when_nothing_refers_to_the_loss() -> None:
    import gc
    import weakref

    inputs = Inputs.random(torch.float32, None, False, True, True)
    gc.disable()
    try:
        given, *_ = inputs.apply(alike=True)
        assert given is not None
        node = weakref.ref(given.grad_fn)
        del given
        assert node() is None
    finally:
        gc.enable()
