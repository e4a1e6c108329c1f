"""Macro-F1 as a quality: its value and pulls by hand, and how often its intervals and verdicts are wrong, simulated.

python -m tests.reports.statistics.test_macro_f1 REPEATS      prints the table of reports/README.md
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from reports.statistics.comparisons import compare_estimates
from reports.statistics.estimates import Estimate
from reports.statistics.intervals import interval
from reports.statistics.looks import FIRST
from reports.statistics.macro_f1 import macro_f1_estimate
from trainables.scoring.label_scores import label_scores, macro_f1


@dataclass(frozen=True)
class Labels:
    """``count`` labels: ``equal``ly frequent, by ``zipf``'s law, or ``one rare``, a tenth as frequent as the others.

    Models that are right with a probability of ``accuracy``, less for rarer labels, and else give another label in
    proportion to its frequency. Two models are alike in ``shared`` of the rows, and independent in the others.
    """

    count: int
    law: str
    accuracy: float
    rows: int
    shared: float = 0.3

    @property
    def shares(self) -> Any:
        weights = {
            "equal": np.ones(self.count),
            "zipf": 1 / np.arange(1, self.count + 1),
            "one rare": np.r_[np.ones(self.count - 1), 0.1],
        }[self.law]
        return weights / weights.sum()

    @property
    def given(self) -> Any:
        """The probability of each given label for rows that have one: (has, given)."""
        shares = self.shares
        right = np.clip(self.accuracy + 0.1 * np.log(shares * self.count) / 3, 0.05, 0.99)
        others = np.tile(shares, (self.count, 1))
        np.fill_diagonal(others, 0)
        found = others / others.sum(axis=1, keepdims=True) * (1 - right)[:, None]
        np.fill_diagonal(found, right)
        return found

    @property
    def f1(self) -> Any:
        """Of each label in all rows that there are."""
        hits = self.shares * np.diag(self.given)
        return 2 * hits / (self.shares + self.shares @ self.given)

    def draw(self, rng: Any) -> tuple[Any, Any, Any]:
        """The labels that rows have, and what two models give them: (rows,) each."""
        has = rng.choice(self.count, size=self.rows, p=self.shares)
        bounds = self.given.cumsum(axis=1)[has]
        first, fresh = rng.random(self.rows), rng.random(self.rows)
        second = np.where(rng.random(self.rows) < self.shared, first, fresh)
        one, other = (
            (draw[:, None] > bounds).sum(axis=1).clip(0, self.count - 1) for draw in (first, second)
        )
        return has, one, other


@dataclass
class Wrong:
    """Of ``runs``: how many intervals held the truth, of qualities and of differences, and false verdicts."""

    runs: int = 0
    covering: int = 0
    differences_covering: int = 0
    verdicts: int = 0

    @property
    def shares(self) -> tuple[float, float, float]:
        return (
            self.covering / self.runs, self.differences_covering / self.runs, self.verdicts / self.runs
        )  # fmt: skip


def simulate(world: Labels, repeats: int, seed: int = 0) -> Wrong:
    """Two models of equal macro-F1 on the same rows. The truth is of the labels that these rows have."""
    found, rng = Wrong(), np.random.default_rng(seed)
    for _ in range(repeats):
        has, *given = world.draw(rng)
        one, other = (estimate(has, each) for each in given)
        low, high = interval(one, None)
        compared = compare_estimates(one, other, None)
        from_, to = compared.interval
        found.runs += 1
        found.covering += low <= world.f1[np.unique(has)].mean() <= high
        found.differences_covering += from_ <= 1e-12 and to >= -1e-12
        found.verdicts += compared.p < FIRST and (from_ > 0 or to < 0)
    return found


def estimate(has: Any, *given: Any, prompts: Sequence[int] | None = None) -> Estimate:
    sets = [[{str(label)} for label in labels] for labels in (has, *given)]
    return macro_f1_estimate(sets[0], sets[1:], range(len(has)), prompts=prompts)


WORLDS = [
    Labels(count, law, accuracy, rows)
    for count in (2, 5, 10)
    for law in ("equal", "zipf", "one rare")
    for accuracy in (0.5, 0.8, 0.95)
    for rows in (64, 200, 500)
]


def test_the_value_is_that_of_the_recorded_measure() -> None:
    rng = np.random.default_rng(0)
    has, given, _ = Labels(5, "zipf", 0.6, 80).draw(rng)
    recorded = macro_f1(label_scores(*([{str(label)} for label in labels] for labels in (has, given))))
    assert estimate(has, given).quality == pytest.approx(recorded)


def test_labels_that_no_row_has_and_several_labels_count_as_in_the_recorded_measure() -> None:
    has: list[set[str]] = [{"a", "b"}, {"a"}, set(), {"b"}]
    given: list[set[str]] = [{"a"}, {"c"}, {"a"}, {"a", "b"}]
    found = macro_f1_estimate(has, [given], range(4))
    assert found.quality == pytest.approx(macro_f1(label_scores(has, given)))
    assert found.mean_pulls.sum() == pytest.approx(0)


def test_a_pull_is_what_a_row_more_would_change() -> None:
    has, given, _ = Labels(3, "zipf", 0.7, 400).draw(np.random.default_rng(1))
    found = estimate(has, given)
    for row in range(0, 400, 50):
        more = estimate(np.append(has, has[row]), np.append(given, given[row]))
        assert more.quality - found.quality == pytest.approx(found.mean_pulls[row], rel=0.02)


def test_rows_of_one_prompt_count_as_one_row() -> None:
    has, given, _ = Labels(3, "zipf", 0.8, 60).draw(np.random.default_rng(2))
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


@pytest.mark.parametrize("world", [Labels(2, "zipf", 0.8, 200), Labels(5, "one rare", 0.8, 64)])
def test_intervals_hold_the_truth_and_equal_models_are_seldom_told_apart(world: Labels) -> None:
    covering, differences, verdicts = simulate(world, 100).shares
    assert covering > 0.88
    assert differences > 0.88
    assert verdicts <= 0.1


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_of_a_thousand_intervals_few_miss_the_truth(world: Labels) -> None:
    covering, differences, verdicts = simulate(world, 1000).shares
    assert covering >= 0.93
    assert differences >= 0.93
    assert verdicts <= 0.06


def main() -> None:
    print(
        "| labels | accuracy | rows | coverage | of differences | false verdicts |\n|---|---|---:|---:|---:|---:|"
    )
    for world in WORLDS:
        covering, differences, verdicts = simulate(world, int(sys.argv[1])).shares
        line = f"{world.count} {world.law} | {world.accuracy} | {world.rows} | {covering:.3f} | {differences:.3f}"
        print(f"| {line} | {verdicts:.3f} |", flush=True)


if __name__ == "__main__":
    main()
