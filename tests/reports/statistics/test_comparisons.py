"""Tests of differences against published or hand-worked numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports.statistics.comparisons import MIN_CLUSTERS, compare_estimates, holm, mcnemar
from reports.statistics.estimates import Estimate, auc_estimate, mean_estimate
from reports.statistics.intervals import (
    SeedVariance,
    beside_rows,
    pooled_seed_variance,
    seed_variance_of,
    variance_by_seeds,
)
from reports.statistics.resampling import flip_interval, sign_flip_p
from sweeps.evaluation import significance


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 4096)
    assert mcnemar(0, 6) == pytest.approx(2 / 64)
    assert (mcnemar(3, 3), mcnemar(0, 0)) == (1.0, 1.0)


def test_holm_multiplies_the_smallest_by_all_and_never_reverses_their_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_holm_is_that_of_statsmodels() -> None:
    """Its p-values of these, as published with its ``multipletests(..., method="holm")``."""
    values = [0.2, 0.001, 0.04, 0.011, 0.5]
    assert holm(values) == pytest.approx([0.4, 0.005, 0.12, 0.044, 0.5])


def test_sign_flips_of_few_differences_are_exact() -> None:
    assert sign_flip_p(np.array([1.0, 2.0, 0.5, 1.5, 0.7, 1.1])) == 2 / 64
    assert sign_flip_p(np.array([1.0, -1.0, 0.0])) == 1.0
    # Zeros can't be flipped: six rows that differ decide, however many agree.
    assert sign_flip_p(np.array([1.0] * 6 + [0.0] * 100)) == 2 / 64


def test_sign_flips_of_many_differences_are_like_students_test() -> None:
    differences = np.random.default_rng(3).normal(0.2, 1, 100)
    assert sign_flip_p(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert sign_flip_p(differences) == sign_flip_p(differences)


def test_the_interval_holds_what_sign_flips_do_not_reject() -> None:
    differences = np.random.default_rng(4).normal(0.3, 1, 80)
    low, high = flip_interval(differences / 80, np.full(80, 1 / 80), 0.95)
    assert (low, high) == pytest.approx(
        tuple(stats.ttest_1samp(differences, 0).confidence_interval()), abs=0.03
    )
    for end, inside in ((low, 1), (high, -1)):
        assert sign_flip_p(differences - end) < 0.05
        assert sign_flip_p(differences - end - inside * 0.02) > 0.05


def test_five_rows_settle_nothing_whatever_they_say() -> None:
    assert MIN_CLUSTERS == significance.MIN_ROWS
    one, other = (mean_estimate([[value] * 5], range(5)) for value in (1.0, 3.0))
    found = compare_estimates(one, other, None)
    assert found.p > 0.05
    assert flip_interval(np.array([0.2, 0.3, 0.1, 0.2, 0.4]), np.full(5, 0.2), 0.95) == (-np.inf, np.inf)


def test_shares_of_the_same_rows_are_compared_by_the_rows_that_differ() -> None:
    one = mean_estimate([[1.0] * 18 + [0.0] * 2], range(20), proportion=True)
    other = mean_estimate([[1.0] * 16 + [0.0] * 4], range(20), proportion=True)
    found = compare_estimates(one, other, None)
    assert (found.p, found.basis) == (0.5, "McNemar's exact test on 20 rows")
    assert found.difference == pytest.approx(0.1)
    # Bonett and Price: (3 - 1) / 22, with the variance of two rows more that disagree.
    middle, variance = 2 / 22, ((3 + 1) / 22 - (2 / 22) ** 2) / 22
    spread = 1.959964 * variance**0.5
    assert found.interval == pytest.approx((middle - spread, middle + spread), abs=1e-6)
    assert found.at_least > found.interval[0]


def test_shares_of_other_rows_are_compared_by_fishers_test_and_newcombes_interval() -> None:
    """Newcombe's published interval of 56 of 70 against 48 of 80."""
    one = mean_estimate([[1.0] * 56 + [0.0] * 14], [f"a{row}" for row in range(70)], proportion=True)
    other = mean_estimate([[1.0] * 48 + [0.0] * 32], [f"b{row}" for row in range(80)], proportion=True)
    found = compare_estimates(one, other, None)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.basis == "Fisher's exact test on 70 rows and 80 other rows"
    assert found.p == pytest.approx(stats.fisher_exact([[56, 14], [48, 32]]).pvalue)


def test_rows_of_one_prompt_are_flipped_together() -> None:
    """Eight rows of each of five prompts, all in favour of the one: as little as five rows."""
    prompts = [row // 8 for row in range(40)]
    one, other = (
        mean_estimate([[value] * 40], range(40), prompts=prompts, proportion=True) for value in (1, 0)
    )
    found = compare_estimates(one, other, None)
    assert found.p == 2 / 32
    assert found.basis == "sign flips on 40 rows of 5 prompts"


def test_tokens_weigh_rows_in_the_difference_too() -> None:
    sizes = [2.0, 98.0] * 20
    one, other = (
        mean_estimate([[short, long] * 20], range(40), weights=sizes)
        for short, long in ((3.0, 1.0), (3.2, 1.1))
    )
    found = compare_estimates(one, other, None)
    assert found.difference == pytest.approx((2 * -0.2 + 98 * -0.1) / 100)
    assert found.p < 0.001
    assert found.interval[0] < found.difference < found.interval[1] < 0


def test_a_variance_between_seeds_takes_a_difference_back() -> None:
    dice = np.random.default_rng(0)
    one, other = (
        mean_estimate((dice.random((3, 400)) < rate).astype(float), range(400), proportion=True)
        for rate in (0.85, 0.75)
    )
    by_rows = compare_estimates(one, other, None)
    with_seeds = compare_estimates(one, other, SeedVariance(0.05**2, 4))
    assert by_rows.p < 0.01 < with_seeds.p
    assert with_seeds.interval[0] < 0 < by_rows.interval[0]
    assert "3 seeds" in with_seeds.basis


def spread_over(*qualities: float) -> Estimate:
    """The same 100 rows of every seed, but for so much more or less of each."""
    rows = np.array([1.0, 0.0] * 50)
    return mean_estimate([(rows * share).tolist() for share in qualities], range(100), proportion=True)


def test_a_cell_that_spreads_more_than_the_others_counts_with_its_own_spread() -> None:
    """Pooled over cells that don't spread, the variance of one that does would be too small for it, and with its
    degrees of freedom too certain."""
    wild, steady = spread_over(1.0, 0.9, 0.8), spread_over(0.8, 0.8, 0.8)
    seeds = pooled_seed_variance([wild, steady, steady, steady])
    assert seeds is not None
    own = wild.qualities.var(ddof=1)
    assert (seeds.value, seeds.degrees) == (pytest.approx(own / 4), 2)
    assert seed_variance_of(seeds, wild) == SeedVariance(own, 2)
    assert seed_variance_of(seeds, steady) == seeds
    assert variance_by_seeds(seeds, steady, steady).value == pytest.approx(2 * own / 4 / 3)
    assert variance_by_seeds(seeds, wild, steady) == SeedVariance(pytest.approx((own + own / 4) / 3), 2)


def test_the_degrees_of_freedom_of_a_sum_of_variances_are_those_of_welch() -> None:
    """By hand: (3 + 1)^2 / (3^2 / (2 + 2) + 1^2 / (8 + 2)) - 2."""
    spread = spread_over(1.0, 0.9, 0.8)
    pooled = SeedVariance(spread.qualities.var(ddof=1) / 3, 8)
    expected = 16 / (9 / 4 + 1 / 10) - 2
    assert variance_by_seeds(pooled, spread, spread_over(0.8, 0.8, 0.8)).degrees == pytest.approx(expected)
    # Alike, they have as many as all seeds together, but never more.
    alike = pooled_seed_variance([spread] * 3)
    assert alike is not None
    assert alike.degrees == 6
    # Trained once, or not at all, a quality has the pooled variance or none.
    once = spread_over(0.9)
    assert variance_by_seeds(pooled, once) == pooled
    assert variance_by_seeds(pooled, replace(once, untrained=True)).value == 0


def test_the_variance_of_rows_and_seeds_is_not_counted_twice() -> None:
    """Where rows are right or wrong at random, each training's figure varies by that alone."""
    dice = np.random.default_rng(2)
    false = 0
    for _ in range(150):
        cells = [
            mean_estimate((dice.random((3, 100)) < 0.8).astype(float), range(100), proportion=True)
            for _ in range(2)
        ]
        values = [cell.qualities.var(ddof=1) for cell in cells]
        false += compare_estimates(*cells, SeedVariance(float(np.mean(values)), 4)).p < 0.05
    assert 0.005 < false / 150 < 0.09


def test_the_interval_and_the_p_value_of_a_difference_know_the_same_variance_between_seeds() -> None:
    """One cell's seeds disagree row by row more than the pooled variance has it, the other's less: what rows and seeds
    share is taken off their sum, not off each."""
    dice = np.random.default_rng(2)
    uneven = dice.normal(0, 3, (3, 60))
    one = mean_estimate(uneven - uneven.mean(axis=1, keepdims=True), range(60))
    other = mean_estimate([np.zeros(60), np.zeros(60), np.zeros(60)], range(60))
    pooled = SeedVariance(0.1, 400)
    beside = 2 * 0.1 / 3 - one.both_variance
    assert one.both_variance > 0.1 / 3
    assert beside_rows(variance_by_seeds(pooled, one, other).value, one, other) == pytest.approx(beside)
    found, by_rows = compare_estimates(one, other, pooled), compare_estimates(one, other, None)
    spread = stats.t.ppf(0.975, 400) * beside**0.5
    assert found.interval[1] == pytest.approx((by_rows.interval[1] ** 2 + spread**2) ** 0.5)


def test_areas_of_the_same_rows_are_compared_row_by_row() -> None:
    good, bad = [1.0] * 40, [0.0] * 40
    right = auc_estimate([good], [bad], range(40))
    wrong = auc_estimate([[-1.0] * 12 + [1.0] * 28], [bad], range(40))
    assert compare_estimates(right, wrong, None).p < 0.01
    one_wrong = auc_estimate([[-1.0] + [1.0] * 39], [bad], range(40))
    found = compare_estimates(right, one_wrong, None)
    assert found.p > 0.2
    assert found.interval[0] < 0 < found.interval[1]
