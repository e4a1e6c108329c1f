"""Macro-F1 as a quality: its value and pulls by hand, and how often its intervals and verdicts are wrong, simulated.

python -m tests.reports.statistics.test_macro_f1 REPEATS [FIRST]    prints a line for each world, from this one on
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports.statistics import comparisons
from reports.statistics.comparisons import compare_estimates
from reports.statistics.estimates import Estimate
from reports.statistics.intervals import SeedVariance, interval, pooled_seed_variance
from reports.statistics.looks import FIRST
from reports.statistics.macro_f1 import macro_f1_estimate
from trainables.scoring.label_scores import label_scores, macro_f1


@dataclass(frozen=True)
class Labels:
    """``count`` labels: ``equal``ly frequent, by ``zipf``'s law, or ``one rare``, a tenth as frequent as the others.

    Models that are right with a probability of ``accuracy``, less for rarer labels, and else give another label in
    proportion to its frequency. Each is alike with the first in ``shared`` of the rows, and independent in the others.
    Two configurations are trained with ``seeds`` seeds each, which change the accuracy by ``spread`` (standard
    deviation). ``per_prompt`` rows share a prompt and its label, and in half of them what a model gives.
    """

    count: int
    law: str
    accuracy: float
    rows: int
    shared: float = 0.3
    seeds: int = 1
    spread: float = 0.0
    per_prompt: int = 1

    @property
    def shares(self) -> Any:
        weights = {
            "equal": np.ones(self.count),
            "zipf": 1 / np.arange(1, self.count + 1),
            "one rare": np.r_[np.ones(self.count - 1), 0.1],
        }[self.law]
        return weights / weights.sum()

    def given(self, shift: float) -> Any:
        """The probability of each given label for rows that have one, by a model of shifted accuracy: (has, given)."""
        shares = self.shares
        right = np.clip(self.accuracy + shift + 0.1 * np.log(shares * self.count) / 3, 0.05, 0.99)
        others = np.tile(shares, (self.count, 1))
        np.fill_diagonal(others, 0)
        found = others / others.sum(axis=1, keepdims=True) * (1 - right)[:, None]
        np.fill_diagonal(found, right)
        return found

    @cached_property
    def f1(self) -> Any:
        """Of each label in all rows and of all seeds that there are."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(21)
        of_nodes = [self._f1(self.given(self.spread * node)) for node in nodes]
        return np.average(of_nodes, axis=0, weights=weights)

    def _f1(self, given: Any) -> Any:
        return 2 * self.shares * np.diag(given) / (self.shares + self.shares @ given)

    def draw(self, rng: Any) -> tuple[Any, Any, Any]:
        """The labels that rows have (rows,), and what the trainings of two configurations give: (seeds, rows) each."""
        prompts = self.rows // self.per_prompt
        has = rng.choice(self.count, size=prompts, p=self.shares).repeat(self.per_prompt)
        first = self._uniform(rng)
        draws = [first]
        while len(draws) < 2 * self.seeds:
            fresh = self._uniform(rng)
            draws.append(np.where(rng.random(self.rows) < self.shared, first, fresh))
        given = [
            self._labels(has, draw, rng.normal(0, self.spread) if self.spread else 0.0) for draw in draws
        ]
        return has, given[: self.seeds], given[self.seeds :]

    def _uniform(self, rng: Any) -> Any:
        own = rng.random(self.rows)
        if self.per_prompt == 1:
            return own
        of_prompts = rng.random(self.rows // self.per_prompt).repeat(self.per_prompt)
        return np.where(rng.random(self.rows) < 0.5, of_prompts, own)

    def _labels(self, has: Any, draw: Any, shift: float) -> Any:
        bounds = self.given(shift).cumsum(axis=1)[has]
        return (draw[:, None] > bounds).sum(axis=1).clip(0, self.count - 1)


@dataclass
class Wrong:
    """Of ``runs``: how many intervals held the truth, of qualities and of differences, how many p-values were below the
    level of a report's first look, and how many false verdicts followed.
    """

    runs: int = 0
    covering: int = 0
    differences_covering: int = 0
    small: int = 0
    verdicts: int = 0

    @property
    def shares(self) -> tuple[float, float, float, float]:
        covering, differences = self.covering / self.runs, self.differences_covering / self.runs
        return covering, differences, self.small / self.runs, self.verdicts / self.runs


def simulate(world: Labels, repeats: int, seed: int = 0) -> Wrong:
    """Two configurations of equal macro-F1 on the same rows. The truth is of the labels that these rows have."""
    found, rng = Wrong(), np.random.default_rng(seed)
    prompts = [*np.arange(world.rows) // world.per_prompt] if world.per_prompt > 1 else None
    for _ in range(repeats):
        has, *given = world.draw(rng)
        one, other = (estimate(has, *each, prompts=prompts) for each in given)
        seeds = pooled_seed_variance([one, other])
        low, high = interval(one, seeds)
        compared = compare_estimates(one, other, seeds)
        from_, to = compared.interval
        found.runs += 1
        found.covering += low <= world.f1[np.unique(has)].mean() <= high
        found.differences_covering += from_ <= 1e-12 and to >= -1e-12
        found.small += compared.p < FIRST
        found.verdicts += compared.p < FIRST and (from_ > 0 or to < 0)
    return found


def estimate(has: Any, *given: Any, prompts: Sequence[int] | None = None) -> Estimate:
    sets = [[{str(label)} for label in labels] for labels in (has, *given)]
    return macro_f1_estimate(sets[0], sets[1:], range(len(has)), prompts=prompts)


WORLDS = [
    Labels(count, law, accuracy, rows)
    for count in (2, 3, 5, 10)
    for law in ("equal", "zipf", "one rare")
    for accuracy in (0.5, 0.8, 0.95)
    for rows in (64, 200, 500)
]
# Of three seeds, and of rows in fours that share a prompt.
FURTHER = [
    Labels(count, law, 0.8, rows, **kind)
    for kind in ({"seeds": 3, "spread": 0.02}, {"per_prompt": 4})
    for count, law in ((2, "zipf"), (2, "one rare"), (5, "one rare"))
    for rows in (64, 200)
]


def test_the_value_is_that_of_the_recorded_measure() -> None:
    rng = np.random.default_rng(0)
    has, (given,), _ = Labels(5, "zipf", 0.6, 80).draw(rng)
    recorded = macro_f1(label_scores(*([{str(label)} for label in labels] for labels in (has, given))))
    assert estimate(has, given).quality == pytest.approx(recorded)


def test_labels_that_no_row_has_and_several_labels_count_as_in_the_recorded_measure() -> None:
    has: list[set[str]] = [{"a", "b"}, {"a"}, set(), {"b"}]
    given: list[set[str]] = [{"a"}, {"c"}, {"a"}, {"a", "b"}]
    found = macro_f1_estimate(has, [given], range(4))
    assert found.quality == pytest.approx(macro_f1(label_scores(has, given)))
    assert found.mean_pulls.sum() == pytest.approx(0)


def test_a_pull_is_what_a_row_more_would_change() -> None:
    has, (given,), _ = Labels(3, "zipf", 0.7, 400).draw(np.random.default_rng(1))
    found = estimate(has, given)
    for row in range(0, 400, 50):
        more = estimate(np.append(has, has[row]), np.append(given, given[row]))
        assert more.quality - found.quality == pytest.approx(found.mean_pulls[row], rel=0.02)


def test_rows_of_one_prompt_count_as_one_row() -> None:
    has, (given,), _ = Labels(3, "zipf", 0.8, 60).draw(np.random.default_rng(2))
    once = interval(estimate(has, given), None)
    places = np.repeat(np.arange(60), 3)
    found = estimate(has[places], given[places], prompts=[*places])
    # But for the parts of rows that are added to each label, which weigh a third here.
    assert interval(found, None) == pytest.approx(once, abs=0.02)


def test_where_all_rows_are_right_few_rows_of_a_label_make_the_interval_wide() -> None:
    even, uneven = np.repeat([0, 1], 32), np.repeat([0, 1], [62, 2])
    lows = [interval(estimate(has, has), None) for has in (even, uneven)]
    assert [high for _, high in lows] == [1.0, 1.0]
    assert lows[1][0] < lows[0][0] - 0.1


@pytest.mark.parametrize("given", [[0] * 20, [0] * 19 + [1], [1] * 20])
def test_rows_of_one_label_have_an_interval(given: list[int]) -> None:
    found = estimate(np.zeros(20, int), np.array(given))
    low, high = interval(found, None)
    assert low <= found.quality <= high
    assert 0.05 < high - low < 0.5


# 61 rows of one label and 3 of another: the one model is right in all, the other wrong in one row of each label.
HAS = np.repeat([0, 1], [61, 3])
FEW_WRONG = np.repeat([0, 1, 0, 1], [60, 1, 1, 2])


@pytest.mark.parametrize("same_rows", [True, False])
def test_the_p_value_has_the_few_degrees_of_freedom_of_a_rare_label(same_rows: bool) -> None:
    one, other = estimate(HAS, HAS), estimate(HAS, FEW_WRONG)
    if not same_rows:
        other = replace(other, keys=tuple(range(100, 164)))

    p = compare_estimates(one, other, None).p

    assert low_p() <= p <= high_p()


def test_the_p_value_by_seeds_has_the_degrees_of_freedom_of_a_rare_label_too() -> None:
    one, other = estimate(HAS, HAS), estimate(HAS, FEW_WRONG)
    assert low_p() <= comparisons._seeds_p(one, other, True, SeedVariance(0.0, 4)) <= high_p()


def t_by_hand() -> float:
    f1, rare_f1 = 120 / 122, 4 / 6
    pulls = [
        *[(2 - 2 * f1) / 244] * 60,
        *[(2 - 2 * rare_f1) / 12] * 2,
        *[-f1 / 244 - rare_f1 / 12] * 2,  # has one label, and is given the other
    ]
    variance = (
        float(np.square(pulls).sum()) * 64 / 63
    )  # the pulls of the model that is right in all rows are 0
    return (1 - (f1 + rare_f1) / 2) / variance**0.5


def high_p() -> float:
    return float(2 * stats.t.sf(t_by_hand(), 1.5))  # half of a degree for each row of the rare label


def low_p() -> float:
    return float(2 * stats.t.sf(t_by_hand(), 1.8))  # as the other label adds little


@pytest.mark.parametrize(
    "world",
    [
        Labels(2, "zipf", 0.8, 200),
        Labels(5, "one rare", 0.8, 64),
        Labels(2, "one rare", 0.8, 64, seeds=3, spread=0.02),
        Labels(3, "zipf", 0.8, 64, per_prompt=4),
    ],
    ids=str,
)
def test_intervals_hold_the_truth_and_equal_models_are_seldom_told_apart(world: Labels) -> None:
    covering, differences, small, verdicts = simulate(world, 100).shares
    assert covering > 0.88
    assert differences > 0.88
    assert verdicts <= small <= 0.1


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("world", [*WORLDS, *FURTHER], ids=str)
def test_of_a_thousand_intervals_few_miss_the_truth(world: Labels) -> None:
    covering, differences, _, verdicts = simulate(world, 1000).shares
    assert covering >= 0.93
    assert differences >= 0.93
    assert verdicts <= 0.06


def main() -> None:
    print(
        "| labels | accuracy | rows | seeds | rows of a prompt | coverage of intervals | of differences ",
        end="",
    )
    print("| p-values below 0.04 | false verdicts |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for world in [*FURTHER, *WORLDS] if len(sys.argv) < 3 else [*FURTHER, *WORLDS][int(sys.argv[2]) :]:
        kind = f"{world.count} {world.law} | {world.accuracy} | {world.rows} | {world.seeds} | {world.per_prompt}"
        shares = " | ".join(f"{share:.3f}" for share in simulate(world, int(sys.argv[1])).shares)
        print(f"| {kind} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
