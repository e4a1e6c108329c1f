"""Intervals of one quality against published numbers, and what they hold."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
from scipy import stats

from reports.statistics.estimates import Estimate, auc_estimate, mean_estimate
from reports.statistics.intervals import auc_interval, interval, pooled_seed_variance, wilson
from reports.statistics.resampling import ratio_interval


def test_wilson_gives_newcombes_published_interval() -> None:
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_wilson_is_not_empty_at_all_right_and_all_wrong_and_stays_within_0_and_1() -> None:
    assert wilson(1.0, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    for rows in range(1, 200):
        assert (wilson(0.0, rows)[0], wilson(1.0, rows)[1]) == (0.0, 1.0)


def test_wilson_of_no_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        wilson(0.5, 0)


def test_the_interval_of_an_auc_contains_the_truth_nineteen_times_of_twenty() -> None:
    """Normal scores a distance d apart have an area of Phi(d / sqrt 2)."""
    dice = np.random.default_rng(0)
    for apart, rows in ((3.0, 16), (2.3, 64), (1.0, 20)):
        truth, held = (1 + erf(apart / 2)) / 2, 0
        for _ in range(400):
            good, bad = dice.normal(apart, 1, rows), dice.normal(0, 1, rows)
            low, high = interval(auc_estimate([good.tolist()], [bad.tolist()], range(rows)), None)
            held += low <= truth <= high
        assert 0.93 < held / 400 < 0.99


def test_the_interval_of_an_auc_is_not_empty_at_0_and_1_and_is_symmetric() -> None:
    low, high = auc_interval(1.0, 20, 30)
    assert (0.8 < low < 1, high) == (True, 1)
    assert auc_interval(0.0, 20, 30) == pytest.approx((0, 1 - low))
    low, high = auc_interval(0.9, 10, 30)
    assert auc_interval(0.1, 30, 10) == pytest.approx((1 - high, 1 - low))
    with pytest.raises(ValueError, match="good and bad answers, got 0 and 3"):
        auc_interval(0.5, 0, 3)


def test_an_areas_pulls_are_delongs_variance() -> None:
    """By hand, for three good and two bad answers of rows of their own."""
    estimate = auc_estimate([[3.0, 1.0, 2.0, None, None]], [[None, None, None, 0.0, 1.5]], range(5))
    assert estimate.quality == pytest.approx(5 / 6)
    placed_good, placed_bad = np.array([1.0, 0.5, 1.0]), np.array([1.0, 2 / 3])
    squares = ((placed_good - 5 / 6) ** 2).sum() / 9 + ((placed_bad - 5 / 6) ** 2).sum() / 4
    assert (estimate.pulls**2).sum() == pytest.approx(squares)


def test_a_normal_mean_has_about_students_interval() -> None:
    scores = np.random.default_rng(1).normal(2, 1, 60)
    student = stats.ttest_1samp(scores, 0).confidence_interval()
    assert interval(mean_estimate([scores.tolist()], range(60)), None) == pytest.approx(
        tuple(student), abs=0.05
    )


def test_an_end_is_infinite_where_too_few_rows_differ_from_the_rest() -> None:
    """Of eight rows one has all of the loss: a third of all resamples hold nothing of it."""
    parts = np.array([0.0] * 7 + [8.0]) / 8
    assert ratio_interval(parts, np.full(8, 1 / 8), 0.95)[1] == np.inf


def test_rows_of_one_prompt_count_as_one() -> None:
    """Four copies of sixteen rows tell no more than the sixteen."""
    scores = [1.0] * 12 + [0.0] * 4
    alone = interval(mean_estimate([scores], range(16), proportion=True), None)
    copies = mean_estimate(
        [scores * 4], range(64), prompts=[f"prompt {row % 16}" for row in range(64)], proportion=True
    )
    assert (copies.rows, copies.clusters) == (64, 16)
    assert interval(copies, None) == pytest.approx(alone)


def trained(*rates: float, rows: int = 200) -> Estimate:
    """A configuration trained with several seeds, each of which got this share of the rows right."""
    scores = [[1.0] * round(rate * rows) + [0.0] * (rows - round(rate * rows)) for rate in rates]
    return mean_estimate(scores, range(rows), proportion=True)


def test_the_variance_between_seeds_is_pooled_over_cells() -> None:
    cells = [trained(0.8, 0.9), trained(0.5), trained(0.6, 0.7, 0.8)]
    pooled = pooled_seed_variance(cells)
    assert pooled is not None
    assert pooled.degrees == 3
    assert pooled.value == pytest.approx((0.005 * 1 + 0.01 * 2) / 3)
    # All of it is that of the first cell, whose two seeds have one degree of freedom.
    of_one = pooled_seed_variance([trained(0.8, 0.9), trained(0.7, 0.7, 0.7)])
    assert of_one is not None
    assert (of_one.value, of_one.degrees) == (pytest.approx(0.005 / 3), 1)
    assert pooled_seed_variance([trained(0.5)]) is None


def test_seeds_that_differ_widen_the_interval_and_more_of_them_narrow_it() -> None:
    def width(estimate: Estimate) -> float:
        low, high = interval(estimate, pooled_seed_variance([estimate]))
        return high - low

    assert width(trained(0.7, 0.8, 0.9)) > 2 * width(trained(0.8, 0.8, 0.8))
    assert width(trained(*[0.7, 0.9] * 8)) < width(trained(0.7, 0.9, 0.7))


def test_no_seed_changes_a_model_that_is_not_trained() -> None:
    from dataclasses import replace

    cells = [trained(0.8, 0.9), trained(0.8)]
    seeds = pooled_seed_variance(cells)
    untrained = replace(cells[1], untrained=True)
    assert interval(untrained, seeds) == interval(untrained, None)
    assert interval(cells[1], seeds) != interval(untrained, None)
