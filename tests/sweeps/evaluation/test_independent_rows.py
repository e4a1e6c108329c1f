"""Rows of one prompt count as one in the intervals and comparisons of `paretune evaluate`."""

from __future__ import annotations

import numpy as np
import pytest

from reports.statistics import measure_intervals
from sweeps.evaluation import significance
from sweeps.evaluation.independent_rows import by_prompt
from trainables.scoring.measures import FRACTION, MeasuredRows, auc_measure, mean_measure

PROMPTS, EACH = 30, 4
CLUSTERS = tuple(np.repeat(np.arange(PROMPTS), EACH).tolist())


def right(dice: np.random.Generator, rate: float = 0.5) -> list[float]:
    """All rows of a prompt are right or wrong together."""
    return np.repeat((dice.random(PROMPTS) < rate).astype(float), EACH).tolist()


def measured(scores: list[float], clusters: tuple[int, ...] | None = CLUSTERS) -> MeasuredRows:
    return MeasuredRows(
        {}, (mean_measure("exact_match", scores, unit=FRACTION),), "exact_match", clusters=clusters
    )


def test_a_share_of_rows_that_repeat_their_prompt_is_as_uncertain_as_that_of_prompts() -> None:
    scores = right(np.random.default_rng(0))
    share = mean_measure("exact_match", scores, unit=FRACTION)
    found = significance.interval(share, measure_intervals, CLUSTERS)
    assert found == pytest.approx(measure_intervals.wilson(share.value, PROMPTS))
    low, high = significance.interval(share, measure_intervals) or (0, 0)
    assert found is not None
    assert found[1] - found[0] > 1.8 * (high - low)


def test_equal_results_over_rows_of_few_prompts_are_seldom_told_apart() -> None:
    dice, told, told_by_row = np.random.default_rng(1), 0, 0
    for _ in range(100):
        one, other = right(dice), right(dice)
        (by_prompts,) = significance.differences(measured(one), measured(other), measure_intervals)
        (by_rows,) = significance.differences(measured(one, None), measured(other, None), measure_intervals)
        told, told_by_row = told + by_prompts.settled, told_by_row + by_rows.settled
        assert by_prompts.difference == pytest.approx(by_rows.difference)
    assert told <= 8 < 20 < told_by_row


def test_the_sentence_says_how_many_prompts_the_rows_have() -> None:
    (found,) = significance.differences(
        measured([1.0] * PROMPTS * EACH), measured([0.0] * PROMPTS * EACH), measure_intervals
    )
    assert (found.rows, found.prompts, found.to_json()["prompts"]) == (120, 30, 30)
    assert "120 rows of 30 prompts)" in significance.verdict(found, "a", "b")
    three = tuple(number // 40 for number in range(120))
    (few,) = significance.differences(
        measured([1.0] * 120, three), measured([0.0] * 120, three), measure_intervals
    )
    assert not few.settled


def test_rows_weigh_as_before_and_a_measure_of_all_rows_draws_prompts() -> None:
    dice = np.random.default_rng(2)
    scores = dice.random(PROMPTS * EACH).tolist()
    clustered = by_prompt(mean_measure("rouge1", scores), CLUSTERS)
    assert clustered.by_row is not None
    assert np.average(clustered.by_row, weights=clustered.weights) == pytest.approx(np.mean(scores))  # type: ignore[arg-type]
    good, bad = dice.normal(1, 1, 120).tolist(), dice.normal(0, 1, 120).tolist()
    area = by_prompt(auc_measure(good, bad, 0.75), CLUSTERS).corpus
    plain = auc_measure(good, bad, 0.75).corpus
    assert area is not None
    assert plain is not None
    assert (area.count, area.auc_counts) == (30, (30, 30))
    drawn = dice.integers(0, 3, PROMPTS)
    assert area.compute(drawn) == plain.compute(np.repeat(drawn, EACH))
