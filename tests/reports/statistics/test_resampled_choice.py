"""What is expected of a cell that was chosen for its figure, on cells whose truth is known to be equal."""

from __future__ import annotations

import numpy as np
import pytest

from reports.statistics.estimates import Estimate, mean_estimate
from reports.statistics.intervals import pooled_seed_variance
from reports.statistics.resampled_choice import ResampledChoice, resampled_choice


def equal_cells(dice: np.random.Generator, rows: int, seeds: int, spread: float) -> list[Estimate]:
    """Four cells of the same true quality 0, over rows of noise 1, whose seeds spread by ``spread``."""
    return [
        mean_estimate(dice.normal(dice.normal(0, spread, (seeds, 1)), 1, (seeds, rows)), range(rows))
        for _ in range(4)
    ]


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.3)])
def test_the_best_of_equals_is_expected_to_be_as_good_as_the_rest(seeds: int, spread: float) -> None:
    """Flattered by rows where each was trained once, and where there are many rows by seeds."""
    dice = np.random.default_rng(0)
    measured, expected = [], []
    for _ in range(250):
        cells = equal_cells(dice, 100 if seeds == 1 else 400, seeds, spread)
        choice = resampled_choice(
            {str(number): (cell, 1) for number, cell in enumerate(cells)},
            pooled_seed_variance(cells),
            higher_is_better=True,
        )
        assert choice is not None
        measured.append(max(cell.quality for cell in cells))
        expected.append(choice.expected_quality)
    assert np.mean(measured) > 0.08
    assert abs(np.mean(expected)) < 0.25 * np.mean(measured)


def test_of_two_that_differ_by_more_than_their_error_the_best_is_expected_as_measured() -> None:
    dice = np.random.default_rng(0)
    cells = {
        name: (mean_estimate([dice.normal(mean, 1, 200)], range(200)), 1)
        for name, mean in (("a", 3), ("b", 0))
    }
    choice = resampled_choice(cells, None, higher_is_better=True)
    assert choice is not None
    assert choice.expected_quality == pytest.approx(cells["a"][0].quality, abs=0.02)
    lower = resampled_choice(cells, None, higher_is_better=False)
    assert lower is not None
    assert lower.expected_quality == pytest.approx(cells["b"][0].quality, abs=0.02)


def choice_of(best: str, expected: float, within: dict[str, float] | None = None) -> ResampledChoice:
    return ResampledChoice(best, expected, within or {}, {})


def test_the_interval_is_extended_by_what_the_figure_is_flattered_and_stays_within_0_and_1() -> None:
    choice = choice_of("a", 0.9)
    assert choice.extended("a", 0.95, (0.9, 0.98), proportion=True) == pytest.approx((0.85, 0.98))
    assert choice_of("a", 0.1).extended("a", 0.3, (0.1, 0.5), proportion=True) == (0.0, 0.5)
    # A loss is flattered where it is lower.
    assert choice_of("a", 2.0).extended("a", 1.0, (0.5, 1.5), proportion=False) == (0.5, 2.5)
    # A cell that is the best of none keeps its own.
    assert choice.extended("b", 0.8, (0.7, 0.9), proportion=True) == (0.7, 0.9)


def test_the_best_within_its_memory_is_extended_by_what_that_choice_flatters() -> None:
    choice = choice_of("a", 0.93, {"a": 0.94, "b": 0.85})
    assert choice.extended("b", 0.9, (0.8, 0.95), proportion=True) == pytest.approx((0.75, 0.95))
    # The best of all was chosen both ways: the larger extension counts.
    assert choice.extended("a", 0.95, (0.9, 0.98), proportion=True) == pytest.approx((0.88, 0.98))


def test_each_best_within_its_memory_is_known_and_the_cheapest_is_chosen_among_itself_alone() -> None:
    dice = np.random.default_rng(0)
    means = {"large": 0.3, "equal": 0.3, "worse": 0.0, "small": 0.2}
    peaks = {"large": 400, "equal": 300, "worse": 200, "small": 100}
    cells = {
        name: (mean_estimate([dice.normal(mean, 0.2, 300)], range(300)), peaks[name])
        for name, mean in means.items()
    }
    choice = resampled_choice(cells, None, higher_is_better=True)
    assert choice is not None
    assert "worse" not in choice.expected_within
    assert choice.expected_within["small"] == pytest.approx(cells["small"][0].quality, abs=0.002)
    assert choice.best in choice.expected_within
    assert choice.expected_within[choice.best] <= cells[choice.best][0].quality


def test_cells_on_other_rows_have_no_common_choice() -> None:
    one, other = (mean_estimate([[1.0, 0.0]], keys) for keys in ([1, 2], [3, 4]))
    assert resampled_choice({"a": (one, 1), "b": (other, 1)}, None, higher_is_better=True) is None


def front_shares(qualities: dict[str, float], peaks: dict[str, int], noise: float = 0.01) -> dict[str, float]:
    dice = np.random.default_rng(0)
    cells = {
        name: (mean_estimate([dice.normal(mean, noise, 200)], range(200)), peaks[name])
        for name, mean in qualities.items()
    }
    choice = resampled_choice(cells, None, higher_is_better=True)
    assert choice is not None
    return choice.front_shares


def test_a_clear_winner_and_the_cheapest_are_on_the_front_in_every_resample() -> None:
    qualities = {"winner": 0.9, "cheapest": 0.5, "beaten": 0.4}
    assert front_shares(qualities, {"winner": 300, "cheapest": 100, "beaten": 200}) == {
        "winner": 1.0,
        "cheapest": 1.0,
        "beaten": 0.0,
    }


def test_equal_cells_of_equal_memory_share_the_front_between_them() -> None:
    names = ("a", "b", "c", "d")
    shares = front_shares(dict.fromkeys(names, 0.5), dict.fromkeys(names, 100), noise=1.0)
    assert sum(shares.values()) == pytest.approx(1.0)  # one of them in each resample
    assert max(shares.values()) < 0.95


@pytest.mark.parametrize(("peak", "on_front"), [(981, False), (979, True)])
def test_peaks_within_2_percent_are_equal_so_that_the_better_cell_alone_is_on_the_front(
    peak: int, on_front: bool
) -> None:
    shares = front_shares({"better": 0.9, "worse": 0.5}, {"better": 1000, "worse": peak})
    assert shares == {"better": 1.0, "worse": float(on_front)}
