"""Tests of how many rows and seeds settle a difference, against hand-worked numbers and simulation."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports.statistics.comparisons import compare_estimates
from reports.statistics.detectable import detectable_difference, student_quantile
from reports.statistics.estimates import Estimate, mean_estimate, rows_degrees
from reports.statistics.intervals import pooled_seed_variance
from reports.statistics.looks import FIRST, level
from reports.statistics.macro_f1 import macro_f1_estimate
from reports.statistics.power import Amount, Criterion, DifferenceLaw, difference_law


def two_cells(rows: int = 60, seeds: int = 3, seed_spread: float = 0.1) -> tuple[Estimate, Estimate]:
    """Losses of two cells on the same rows; the second one's are 0.15 higher."""
    dice = np.random.default_rng(5)
    common = dice.normal(1, 0.5, rows)
    return tuple(  # type: ignore[return-value]
        mean_estimate(
            [common + dice.normal(0, 0.4, rows) + gap + dice.normal(0, seed_spread) for _ in range(seeds)],
            range(rows),
        )
        for gap in (0.0, 0.15)
    )


def law_of(rows: float = 1.0, seeds: float = 0.0, gain: float = 0.3, count: int = 50) -> DifferenceLaw:
    """Of two cells with three seeds each where ``seeds`` is above 0, else with one."""
    several = 3 if seeds else 1
    degrees = 10 if seeds else None
    return DifferenceLaw(
        gain, Amount(count, (several, several)), rows, (0.0, 0.0), (seeds, seeds), degrees, count - 1
    )


def test_all_looks_together_are_wrong_in_five_percent_at_most() -> None:
    assert sum(level(look) for look in range(1, 50)) == pytest.approx(0.05)
    assert all(level(look + 1) < level(look) for look in range(1, 20))


def test_the_law_has_the_error_that_was_measured() -> None:
    pair = two_cells()
    seeds = pooled_seed_variance(list(pair))
    law = difference_law(*pair, seeds, higher_is_better=False)
    assert law is not None
    assert law.gain == pytest.approx(pair[1].quality - pair[0].quality)
    compared = compare_estimates(*pair, seeds)
    # The p-value is that of the law's error, with about as many degrees of freedom.
    by_law = 2 * stats.t.sf(law.gain / law.error(law.measured), law.degrees_of_freedom(law.measured))
    assert by_law == pytest.approx(compared.p, rel=0.25)
    # More rows leave what seeds have, more seeds what rows have, and more of both leave nothing.
    rows, seeds_more = law.error(Amount(10**9, (3, 3))), law.error(Amount(60, (10**9, 10**9)))
    assert rows**2 == pytest.approx(sum(law.seeds) / 3, rel=1e-3)
    assert seeds_more**2 == pytest.approx(law.rows / 60, rel=1e-3)
    assert law.error(Amount(10**9, (10**9, 10**9))) < 1e-4


def test_rows_needed_are_those_of_the_textbook() -> None:
    """By Lachin's formula: n = variance ((z_alpha + z_beta) / difference)^2."""
    law = law_of(rows=1.0, gain=0.3)
    alpha, beta = stats.norm.ppf(1 - 0.04 / 2), stats.norm.ppf(0.8)
    assert law.rows_needed(Criterion(0.04, 0.04, None)) == pytest.approx(((alpha + beta) / 0.3) ** 2, abs=4)
    # As good within a margin: one-sided, by what is left of the margin.
    one_sided = stats.norm.ppf(1 - 0.04)
    wanted = ((one_sided + beta) / 0.2) ** 2
    assert law_of(gain=-0.05).rows_needed(Criterion(0.04, 0.04, 0.25)) == pytest.approx(wanted, abs=4)


def test_what_seeds_alone_or_rows_alone_can_not_settle_is_known() -> None:
    criterion = Criterion(0.04, 0.04, None)
    # Ten points of a difference, and seeds that spread by as much: no number of rows helps.
    law = law_of(rows=0.02, seeds=0.01, gain=0.1)
    assert law.rows_needed(criterion) is None
    needed = law.seeds_needed(criterion)
    assert needed is not None
    assert needed > 3
    assert law.would_settle(Amount(50, (needed, needed)), criterion)
    assert not law.would_settle(Amount(50, (needed - 1, needed - 1)), criterion)
    # One training of each: more seeds are another question.
    assert law_of().seeds_needed(criterion) is None
    # No margin, and no difference at all.
    assert law_of(gain=0.0).rows_needed(criterion) is None


@pytest.mark.parametrize("margin", [None, 0.1])
def test_the_probability_to_settle_is_that_of_simulated_further_rows(margin: float | None) -> None:
    """The true difference is drawn around the measured one; then 150 further rows are."""
    law, criterion, dice = law_of(gain=0.2), Criterion(0.05, 0.05, margin), np.random.default_rng(0)
    now, later = Amount(50, (1, 1)), Amount(200, (1, 1))
    true = dice.normal(law.gain, law.error(now), 20_000)
    further = dice.normal(true, sqrt(1 / 150))
    pooled = (50 * law.gain + 150 * further) / 200
    error, degrees = law.error(later), law.degrees_of_freedom(later)
    settled = np.mean([criterion.settles(value, error, degrees) for value in pooled])
    assert law.probability(later, criterion) == pytest.approx(settled, abs=0.01)
    assert law.probability(now, criterion) == float(criterion.settles(0.2, law.error(now), 49))


def test_cells_on_other_rows_have_no_law() -> None:
    one, _ = two_cells()
    other = mean_estimate([[1.0] * 60], range(100, 160))
    assert difference_law(one, other, None, higher_is_better=True) is None


def test_shares_without_a_row_that_differs_may_differ_on_others() -> None:
    same = mean_estimate([[1.0] * 90 + [0.0] * 10], range(100), proportion=True)
    law = difference_law(same, same, None, higher_is_better=True)
    assert law is not None
    needed = law.rows_needed(Criterion(0.04, 0.04, 0.02))
    assert needed is not None
    assert 200 < needed < 500


@pytest.mark.parametrize("degrees", [1, 2, 3, 4.5, 8, 30, 1e6])
def test_students_quantiles_are_those_of_scipy(degrees: float) -> None:
    for tail in (0.2, 0.02, 0.0005):
        assert student_quantile(tail, degrees) == pytest.approx(stats.t.isf(tail, degrees), rel=1e-4)


def test_few_seeds_find_large_differences_alone_as_they_hardly_tell_how_much_seeds_change() -> None:
    def limit(seeds: int, cells: int) -> float:
        spread = {"row_variance": 0.2, "seed_sd": 0.02, "seed_degrees": cells * (seeds - 1)}
        return detectable_difference(10**9, seeds, 1, **spread)

    # Two trainings of each of two cells: t with two degrees of freedom.
    expected = (stats.t.isf(0.02, 2) + stats.t.isf(0.2, 2)) * 0.02
    assert limit(2, 2) == pytest.approx(expected, rel=1e-3)
    assert limit(2, 2) > limit(2, 6) > limit(3, 6)


def test_the_detectable_difference_is_found_in_four_of_five_simulations() -> None:
    """64 rows of which two methods differ in a fifth: McNemar's large-sample test at 4 %."""
    found = detectable_difference(64, 1, 1, row_variance=0.2, seed_sd=0.0)
    assert found == pytest.approx(0.162, abs=0.001)
    dice = np.random.default_rng(1)
    only_one, only_other = (0.2 + found) / 2, (0.2 - found) / 2
    draws = dice.multinomial(64, [only_one, only_other, 0.8], size=4_000)
    difference = (draws[:, 0] - draws[:, 1]) / 64
    error = np.sqrt(draws[:, :2].sum(axis=1) - (draws[:, 0] - draws[:, 1]) ** 2 / 64) / 64
    power = np.mean(np.abs(difference) > stats.norm.ppf(0.98) * error)
    # Slightly more often: the difference itself is no part of the rows' variance, which the formula leaves out.
    assert 0.8 < power < 0.92
    # 11 to 19 points at 64 rows where a tenth to three tenths differ, at 5 %.
    low, high = (detectable_difference(64, 1, 1, row_variance=share, seed_sd=0.0) for share in (0.1, 0.3))
    assert (low, high) == (pytest.approx(0.11, abs=0.01), pytest.approx(0.19, abs=0.01))


def two_classifiers(counts: tuple[int, ...], difference: float, rng: Any) -> tuple[Estimate, Estimate]:
    """Of rows of which ``counts`` have each label: two models that differ in a fifth of the rows, in which the first
    one is right more often by ``difference`` of all rows. Both are right in 70 % of the others; a wrong label is
    drawn by its frequency.
    """
    has = np.repeat(np.arange(len(counts)), counts)
    differ, draw = rng.random(len(has)) < 0.2, rng.random(len(has))
    wrong = np.array(
        [rng.choice(np.delete(np.arange(len(counts)), label), p=other_shares(counts, label)) for label in has]
    )
    right = np.where(differ, draw < 0.5 + difference / 0.4, draw < 0.7)
    first, second = np.where(right, has, wrong), np.where(right ^ differ, has, wrong)
    sets = [[{str(label)} for label in labels] for labels in (has, first, second)]
    one, other = (macro_f1_estimate(sets[0], [given], range(len(has))) for given in sets[1:])
    return one, other


def other_shares(counts: tuple[int, ...], label: int) -> Any:
    others = np.delete(np.array(counts, dtype=float), label)
    return others / others.sum()


@pytest.mark.parametrize("counts", [(100, 100), (25, 25, 25, 25, 25, 25, 25, 25)])
def test_the_detectable_macro_f1_is_found_in_four_of_five_simulations(counts: tuple[int, ...]) -> None:
    rows, rng = sum(counts), np.random.default_rng(3)
    shares = tuple(count / rows for count in counts)
    found = detectable_difference(rows, 1, 1, row_variance=0.2, seed_sd=0.0, label_shares=shares)

    p_values = [compare_estimates(*two_classifiers(counts, found, rng), None).p for _ in range(100)]

    # As of shares of rows: slightly more often, as the difference itself is no part of the rows' variance.
    assert 0.7 < np.mean(np.array(p_values) < FIRST) < 0.98


def test_rare_labels_hide_larger_differences_of_macro_f1() -> None:
    def difference(*shares: float, **changes: Any) -> float:
        settings: dict[str, Any] = {"row_variance": 0.2, "seed_sd": 0.0, "label_shares": shares} | changes
        return detectable_difference(200, 1, 1, **settings)

    assert difference(0.5, 0.5) == pytest.approx(difference(), rel=0.02)
    assert difference(0.05, 0.95) > difference(0.1, 0.9) > 1.5 * difference(0.5, 0.5)
    seeds = {"seed_sd": 0.02, "seed_degrees": 3}
    assert difference(0.1, 0.9, **seeds) > difference(0.5, 0.5, **seeds) > difference(0.5, 0.5)


def test_the_law_of_macro_f1_has_the_degrees_of_freedom_of_its_p_value() -> None:
    """Three rows of the one label, 61 of the other: half a degree for each row of the rare one."""
    one, other = two_classifiers((3, 61), 0.1, np.random.default_rng(0))
    law = difference_law(one, other, None, higher_is_better=True)
    assert law is not None

    degrees = law.degrees_of_freedom(law.measured)

    assert degrees == rows_degrees(one, other)
    assert degrees < 5
    by_law = 2 * stats.t.sf(abs(law.gain) / law.error(law.measured), degrees)
    assert compare_estimates(one, other, None).p >= by_law * (1 - 1e-9)
    # Of ten times as many rows the rare label has ten times as many.
    assert law.degrees_of_freedom(Amount(640, (1, 1))) == pytest.approx(10 * degrees)


def test_the_law_of_a_mean_has_one_degree_of_freedom_fewer_than_rows() -> None:
    assert law_of().degrees_of_freedom(Amount(250, (1, 1))) == 249


def test_more_pairs_fewer_seeds_and_fewer_rows_hide_larger_differences() -> None:
    def difference(rows: int = 100, seeds: int = 3, pairs: int = 1) -> float:
        return detectable_difference(rows, seeds, pairs, row_variance=0.2, seed_sd=0.02)

    assert difference(pairs=6) > difference() > difference(rows=400) > difference(10**9) > 0.04
    assert difference(10**9, seeds=12) == pytest.approx(difference(10**9) / 2, rel=1e-3)
    with pytest.raises(ValueError, match="no rows"):
        difference(rows=0)
