"""The parabola through trials: by value, and how often its optimum's interval holds the truth."""

import numpy as np
import pytest

from reports.statistics.expected_best import expected_best
from reports.statistics.response_curve import ResponseCurve, response_curve

LOW, HIGH = 1e-4, 1e-2


def fitted(rates: list[float], objectives: list[float]) -> ResponseCurve:
    curve = response_curve(rates, objectives, LOW, HIGH)
    assert curve is not None
    return curve


def parabola(rates: list[float], best: float) -> list[float]:
    return [0.9 - 0.3 * np.log10(rate / best) ** 2 for rate in rates]


def test_trials_on_a_parabola_give_it_back() -> None:
    rates = [1.3e-4, 5e-4, 1e-3, 2.5e-3, 9e-3]
    curve = fitted(rates, parabola(rates, 8e-4))
    assert curve.optimum == pytest.approx(8e-4)
    assert curve.interval == pytest.approx((8e-4, 8e-4), rel=1e-3)
    assert [curve.at(rate) for rate in (2e-4, 7e-3)] == pytest.approx(parabola([2e-4, 7e-3], 8e-4))


@pytest.mark.parametrize(("best", "optimum"), [(3e-5, LOW), (5e-2, HIGH), (9.9e-3, 9.9e-3), (6e-3, 6e-3)])
def test_an_optimum_beyond_an_end_of_the_range_is_at_that_end(best: float, optimum: float) -> None:
    rates = [2e-4, 6e-4, 1e-3, 3e-3, 8e-3]
    assert fitted(rates, parabola(rates, best)).optimum == pytest.approx(optimum)


def test_where_the_middle_is_worst_the_better_end_is_the_best() -> None:
    rates = [1e-4, 1e-3, 1e-2]
    assert fitted(rates, [0.5, 0.1, 0.8]).optimum == pytest.approx(HIGH)
    assert fitted(rates, [0.8, 0.1, 0.5]).optimum == pytest.approx(LOW)


def test_three_trials_have_a_curve_and_no_interval_and_two_have_none() -> None:
    assert fitted([1e-4, 1e-3, 1e-2], [0.2, 0.7, 0.5]).interval is None
    assert response_curve([1e-4, 1e-3, 1e-3], [0.2, 0.7, 0.6], LOW, HIGH) is None
    assert response_curve([1e-4, 1e-3, 1e-2], [0.5, 0.5, 0.5], LOW, HIGH) is None


@pytest.mark.parametrize("trials", [4, 6, 10])
@pytest.mark.parametrize("best", [1e-3, 4e-3])
def test_the_optimums_interval_holds_the_truth_about_nineteen_times_of_twenty(
    trials: int, best: float
) -> None:
    dice, held, repeats = np.random.default_rng(0), 0, 200
    for _ in range(repeats):
        rates = np.exp(dice.uniform(np.log(LOW), np.log(HIGH), trials)).tolist()
        noisy = np.array(parabola(rates, best)) + dice.normal(0, 0.05, trials)
        interval = fitted(rates, noisy.tolist()).interval
        assert interval is not None
        held += interval[0] <= best <= interval[1]
    assert 0.87 <= held / repeats <= 0.995


def test_the_expected_best_is_the_mean_over_all_sets_of_draws() -> None:
    from itertools import combinations

    results = [0.3, 0.9, 0.5, 0.5, 0.1]
    for size, expected in enumerate(expected_best(results), start=1):
        bests = [max(chosen) for chosen in combinations(results, size)]
        assert expected == pytest.approx(sum(bests) / len(bests))
    assert expected_best([]) == []


def test_the_expected_best_is_unbiased() -> None:
    """The best of three draws from 0 to 1 is 3/4 on average, whatever number of draws it is estimated from."""
    dice = np.random.default_rng(0)
    found = [expected_best(dice.uniform(size=5).tolist())[2] for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.75, abs=0.01)
