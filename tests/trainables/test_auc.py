"""The area under the ROC curve, against every pair of answers and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainables.auc import auc, drawn_auc


def by_pairs(good: np.ndarray, bad: np.ndarray) -> float:
    return float(((good[:, None] > bad[None, :]) + 0.5 * (good[:, None] == bad[None, :])).mean())


def test_auc_is_the_share_of_pairs_in_the_right_order_ties_counting_half() -> None:
    dice = np.random.default_rng(0)
    for _ in range(20):
        good, bad = (dice.integers(0, 12, size=size) / 4 for size in dice.integers(1, 30, size=2))
        assert auc(good, bad) == by_pairs(good, bad)


def test_auc_equals_scikit_learns_with_and_without_ties_and_weights() -> None:
    from sklearn.metrics import roc_auc_score

    dice = np.random.default_rng(1)
    for digits in (1, 12):
        good, bad = dice.normal(1, 1, 40).round(digits), dice.normal(0, 1, 40).round(digits)
        labels, scores = [True] * 40 + [False] * 40, [*good, *bad]
        assert auc(good, bad) == pytest.approx(roc_auc_score(labels, scores), rel=1e-14)
        counts = dice.multinomial(40, [1 / 40] * 40)
        weighted = roc_auc_score(labels, scores, sample_weight=[*counts, *counts])
        assert drawn_auc(good.tolist(), bad.tolist())(counts) == pytest.approx(weighted, rel=1e-14)


def test_a_score_that_is_not_a_number_ranks_above_every_number() -> None:
    assert auc([math.nan], [1.0, math.inf]) == 1.0
    assert auc([math.nan], [math.nan]) == 0.5


def test_auc_is_half_if_there_is_nothing_to_tell_apart() -> None:
    assert auc([], [1.0]) == auc([1.0], []) == auc([1.0], [1.0]) == 0.5


def test_rows_that_are_drawn_twice_count_twice() -> None:
    good, bad = np.array([0.5, 2.0, 1.0]), np.array([1.0, 0.2, 1.5])
    drawn = drawn_auc(good.tolist(), bad.tolist())
    assert drawn(np.ones(3, int)) == by_pairs(good, bad)
    assert drawn(np.array([2, 0, 1])) == pytest.approx(by_pairs(good[[0, 0, 2]], bad[[0, 0, 2]]))


def test_rows_have_a_good_answer_or_a_bad_one_or_both() -> None:
    drawn = drawn_auc([3.0, None, 1.0, 2.0], [None, 2.0, None, 0.0])
    assert drawn(np.ones(4, int)) == pytest.approx(by_pairs(np.array([3.0, 1.0, 2.0]), np.array([2.0, 0.0])))
    assert math.isnan(drawn(np.array([2, 0, 2, 0])))  # no bad one was drawn
