"""PPO's formulas against numbers worked by hand, in 64 bits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.stages.ppo import formulas


def double(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


ALL = torch.ones(1, 3, dtype=torch.bool)


def test_advantages_are_the_discounted_sum_of_temporal_differences() -> None:
    found, returns = formulas.advantages(
        double([1.0, 0.0, 2.0]), double([0.5, 1.0, -1.0]), ALL, gamma=0.9, lam=0.5
    )
    # d = [1 + 0.9 - 0.5, 0 - 0.9 - 1, 2 + 1] = [1.4, -1.9, 3]; A2 = 3, A1 = -1.9 + 0.45 x 3, A0 = 1.4 + 0.45 x -0.55
    torch.testing.assert_close(found, double([1.1525, -0.55, 3.0]))
    torch.testing.assert_close(returns, double([1.6525, 0.45, 2.0]))


def test_what_follows_an_answers_end_adds_nothing_to_returns() -> None:
    counted = torch.tensor([[True, True, False]])
    found, returns = formulas.advantages(
        double([0.0, 1.0, 7.0]), double([0.0, 0.5, 9.0]), counted, gamma=1.0, lam=1.0
    )
    torch.testing.assert_close(found, double([1.0, 0.5, 0.0]))
    torch.testing.assert_close(returns, double([1.0, 1.0, 0.0]))


def test_without_discounts_every_return_is_the_rest_of_the_rewards() -> None:
    torch.manual_seed(0)
    rewards, values = torch.randn(4, 6).double(), torch.randn(4, 6).double()
    counted = formulas.up_to_end(torch.randint(0, 4, (4, 6)), ends=[0])
    _, returns = formulas.advantages(rewards, values, counted, gamma=1.0, lam=1.0)
    for row, own in enumerate(counted):
        rest = [(rewards[row] * own)[place:].sum() for place in range(int(own.sum()))]
        torch.testing.assert_close(returns[row][own], torch.stack(rest))


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.0, 2.0, -2.0),
        (1.5, 2.0, -2.4),  # no more is gained beyond 1.2
        (1.5, -2.0, 3.0),  # but all of a loss is felt
        (0.5, 2.0, -1.0),
        (0.5, -2.0, 1.6),
    ],
)
def test_the_policy_loss_takes_the_worse_of_the_ratio_and_the_clipped_one(
    ratio: float, advantage: float, expected: float
) -> None:
    found = formulas.policy_loss(double([math.log(ratio)]), double([0.0]), double([advantage]), 0.2)
    assert found.item() == pytest.approx(expected)


def test_the_value_loss_takes_the_worse_of_the_value_and_the_clipped_one() -> None:
    new, old, returns = double([1.0, 1.0]), double([0.5, 0.5]), double([1.0, 0.0])
    # clipped to 0.7: max(0, 0.3^2) / 2 and max(1, 0.7^2) / 2
    torch.testing.assert_close(formulas.value_loss(new, old, returns, 0.2), double([0.045, 0.5]))
    torch.testing.assert_close(formulas.value_loss(new, old, returns, None), double([0.0, 0.5]))


def test_both_kl_estimators_are_unbiased_and_k3_is_never_negative() -> None:
    p, q = double([0.7, 0.2, 0.1]), double([0.4, 0.4, 0.2])
    true = (p * (p / q).log()).sum().item()
    for estimator in ("k1", "k3"):
        found = formulas.kl_estimate(p.log(), q.log(), estimator)
        assert (p * found).sum().item() == pytest.approx(true)
    assert (formulas.kl_estimate(p.log(), q.log(), "k3") >= 0).all()
    assert formulas.kl_estimate(double([-1.0]), double([-2.0]), "k3").item() == pytest.approx(math.exp(-1))


def test_the_score_comes_at_an_answers_last_token() -> None:
    counted = torch.tensor([[True, True, False], [True, True, True]])
    kl = double([1.0, 2.0, 9.0], [0.0, 0.0, 1.0])
    found = formulas.token_rewards(torch.tensor([5.0, 7.0]).double(), kl, counted, 0.1)
    torch.testing.assert_close(found, double([-0.1, 4.8, 0.0], [0.0, 0.0, 6.9]))


def test_whitening_gives_mean_0_and_variance_1_over_what_counts() -> None:
    counted = torch.tensor([[True, True, True, False]])
    values = double([1.0, 2.0, 6.0, 100.0])
    torch.testing.assert_close(
        formulas.whiten(values, counted), double([-2.0, -1.0, 3.0, 0.0]) / math.sqrt(7.0)
    )
    kept = formulas.whiten(values, counted, shift_mean=False)
    assert kept[counted].mean().item() == pytest.approx(3.0)


@pytest.mark.parametrize("values", [[2.0], [3.0, 3.0, 3.0]])
def test_equal_values_whiten_to_0(values: list[float]) -> None:
    found = formulas.whiten(double(values), torch.ones(1, len(values), dtype=torch.bool))
    assert found.tolist() == [[0.0] * len(values)]
    assert formulas.normalize(double(values)[0]).tolist() == [0.0] * len(values)


def test_the_kl_coefficient_goes_up_above_its_target_and_down_below_it() -> None:
    start = formulas.KLController(0.1, target=6.0, horizon=1000)
    assert start.after(6.6, 50).coefficient == pytest.approx(0.1 * (1 + 0.1 * 50 / 1000))
    assert start.after(60.0, 50).coefficient == pytest.approx(0.1 * (1 + 0.2 * 50 / 1000))
    assert start.after(-3.0, 50).coefficient == pytest.approx(0.1 * (1 - 0.2 * 50 / 1000))
    assert formulas.KLController(0.1).after(60.0, 50).coefficient == 0.1


def test_an_answer_that_ends_at_once_has_one_token() -> None:
    found = formulas.up_to_end(torch.tensor([[1, 1, 5], [5, 2, 5], [5, 5, 5]]), ends=[1, 2])
    assert found.sum(1).tolist() == [1, 2, 3]
