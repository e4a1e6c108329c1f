"""The parabola through trials and the interval of its optimum, by value; how often it is right: `test_calibration`."""

import numpy as np
import pytest
from scipy import stats

from reports.statistics.expected_best import expected_best
from reports.statistics.response_curve import ResponseCurve, optimum_intervals, response_curve

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
    low, high = curve.interval or (0.0, 0.0)
    assert low <= curve.optimum <= high
    assert curve.is_sure  # though other curves than the parabola itself pass near five trials, too
    assert [curve.at(rate) for rate in (2e-4, 7e-3)] == pytest.approx(parabola([2e-4, 7e-3], 8e-4))


@pytest.mark.parametrize(("best", "optimum"), [(3e-5, LOW), (5e-2, HIGH), (9.9e-3, 9.9e-3), (6e-3, 6e-3)])
def test_an_optimum_beyond_an_end_of_the_range_is_at_that_end(best: float, optimum: float) -> None:
    rates = [2e-4, 6e-4, 1e-3, 3e-3, 8e-3]
    assert fitted(rates, parabola(rates, best)).optimum == pytest.approx(optimum)


def test_where_the_middle_is_worst_the_better_end_is_the_best() -> None:
    rates = [1e-4, 1e-3, 1e-2]
    assert fitted(rates, [0.5, 0.1, 0.8]).optimum == pytest.approx(HIGH)
    assert fitted(rates, [0.8, 0.1, 0.5]).optimum == pytest.approx(LOW)


def test_fewer_than_five_trials_have_no_interval_and_two_have_no_curve() -> None:
    assert fitted([1e-4, 1e-3, 1e-2], [0.2, 0.7, 0.5]).interval is None
    assert fitted([1e-4, 1e-3, 3e-3, 1e-2], [0.2, 0.7, 0.6, 0.5]).interval is None
    assert response_curve([1e-4, 1e-3, 1e-3], [0.2, 0.7, 0.6], LOW, HIGH) is None
    assert response_curve([1e-4, 1e-3, 1e-2], [0.5, 0.5, 0.5], LOW, HIGH) is None


def test_the_interval_ends_where_the_last_curves_slope_is_as_far_from_0_as_its_t_test_allows() -> None:
    rates = [1e-4, 3e-4, 1e-3, 1e-3, 3e-3, 1e-2]
    objectives = [0.58, 0.84, 0.91, 0.88, 0.79, 0.62]
    places = np.log10(rates) + 3  # from -1 to 1
    low, high = fitted(rates, objectives).interval or (0.0, 0.0)
    for end in (low, high):
        distances = []
        for skew in (0.25, 0.5, 1.0, 2.0, 4.0):
            moved = places - (np.log10(end) + 3)
            weight = np.where(moved > 0, skew, 1.0)
            columns = np.stack([np.ones_like(moved), moved * weight, moved**2 * weight], axis=1)
            fit, residual, *_ = np.linalg.lstsq(columns, np.array(objectives), rcond=None)
            error = np.sqrt(residual[0] / 3 * np.linalg.inv(columns.T @ columns)[1, 1])
            distances.append(abs(fit[1]) / error)
        assert min(distances) == pytest.approx(stats.t.ppf(0.975, 3), rel=0.01)
    assert low < 1e-3 < high


def test_an_interval_narrower_than_the_places_that_are_tried_is_no_point() -> None:
    rates = np.geomspace(LOW, HIGH, 12).tolist()
    noise = 1e-4 * np.array([1, -1, 1, 1, -1, -1, 1, -1, 1, -1, 1, -1])
    values = (np.array(parabola(rates, 1.03e-3)) + noise).tolist()
    intervals = optimum_intervals(rates, values, LOW, HIGH, (1.0,))
    assert intervals is not None
    widths = [np.log10(high / low) for low, high in map(intervals, (0.05, 0.01))]
    assert 0 < widths[0] < 2 / 100  # of places that are a hundredth of the range apart
    # As wide as the t distribution says.
    assert widths[1] / widths[0] == pytest.approx(stats.t.ppf(0.995, 9) / stats.t.ppf(0.975, 9), rel=0.02)


def test_the_interval_holds_the_best_rate_of_a_curve_that_falls_more_quickly_on_one_side() -> None:
    rates = np.geomspace(LOW, HIGH, 12).tolist()
    steep = [0.9 - 0.3 * np.log10(rate / 2e-3) ** 2 * (4 if rate > 2e-3 else 1) for rate in rates]
    curve = fitted(rates, steep)
    low, high = curve.interval or (0.0, 0.0)
    assert curve.optimum < 1.7e-3  # the parabola's, too low
    assert low <= curve.optimum < 2e-3 * 0.999 < high
    assert curve.is_sure


def test_an_end_is_in_the_interval_where_the_objective_may_rise_towards_it() -> None:
    rates = [2e-4, 6e-4, 1e-3, 3e-3, 8e-3]
    errors = np.array([0.03, -0.03, 0.03, -0.03, 0.03])
    low, high = fitted(rates, (parabola(rates, 2e-2) + errors).tolist()).interval or (0.0, 0.0)
    assert 4e-4 < low < high == HIGH
    valley = [0.8, 0.5, 0.45, 0.5, 0.8]
    assert fitted(rates, valley).interval == (LOW, HIGH)
    noise = [0.5, 0.7, 0.4, 0.6, 0.5]
    assert not fitted(rates, noise).is_sure


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
