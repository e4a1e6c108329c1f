"""How the next token is chosen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainables.inference.sampling import Sampling, TokenSampler, limit


def test_tokens_are_drawn_with_the_probabilities_of_the_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    sampler = TokenSampler(Sampling(temperature=0.5, seed=0))
    counts = (
        torch.bincount(torch.tensor([sampler.next_token(logits) for _ in range(4000)]), minlength=4) / 4000
    )
    assert torch.allclose(counts, (logits / 0.5).softmax(-1), atol=0.03)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 2}, {0, 1}),
        ({"top_p": 0.6}, {0}),
        ({"top_p": 0.7}, {0, 1}),
        ({"top_k": 2, "top_p": 0.7}, {0}),  # 0.73 of the two
    ],
)
def test_only_the_most_likely_tokens_are_drawn(settings: dict[str, float], kept: set[int]) -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])  # 0.64, 0.24, 0.09, 0.03
    sampler = TokenSampler(Sampling(temperature=1, seed=0, **settings))  # type: ignore[arg-type]
    assert {sampler.next_token(logits) for _ in range(200)} == kept


@pytest.mark.parametrize("settings", [{"top_k": 7}, {"top_p": 0.8}, {"top_k": 9, "top_p": 0.6}, {}])
def test_the_limits_are_those_of_transformers(settings: dict[str, float]) -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    expected: Any = TemperatureLogitsWarper(0.7)(None, scores)  # type: ignore[arg-type]
    if "top_k" in settings:
        expected = TopKLogitsWarper(int(settings["top_k"]))(None, expected)  # type: ignore[arg-type]
    if "top_p" in settings:
        expected = TopPLogitsWarper(settings["top_p"])(None, expected)  # type: ignore[arg-type]
    limits = Sampling(temperature=0.7, **settings)  # type: ignore[arg-type]
    limited = limit(scores, limits)
    assert torch.equal(limited.isinf(), expected.isinf())
    assert torch.allclose(limited.softmax(-1), expected.softmax(-1), rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1e-320, 1e-40, 9e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("scale", [1.0, 1e30])
def test_a_temperature_of_almost_zero_takes_the_most_likely_token(temperature: float, scale: float) -> None:
    logits = torch.tensor([-torch.inf, 1.0, 3.0, 2.9]) * scale
    sampler = TokenSampler(Sampling(temperature=temperature, seed=0))
    assert {sampler.next_token(logits) for _ in range(20)} == {2}
    assert not limit(logits, Sampling(temperature=temperature)).isnan().any()


def test_penalties_lower_the_logits_of_previous_tokens() -> None:
    sampler = TokenSampler(Sampling(frequency_penalty=0.4, presence_penalty=0.3))
    # 1.0 - 0.7 leaves the first below 0.5; then 0.5 - 0.7 leaves the second below it.
    assert [sampler.next_token(torch.tensor([1.0, 0.5])) for _ in range(3)] == [0, 1, 0]


@pytest.mark.parametrize(
    "settings", [{"temperature": -1}, {"top_p": 0}, {"max_new_tokens": 0}, {"top_k": -1}]
)
def test_a_setting_out_of_its_range_is_named(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is .*; it must be between"):
        Sampling(**settings)  # type: ignore[arg-type]
