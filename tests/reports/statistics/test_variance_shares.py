"""Shares of the variance against examples worked by hand, and on simulated searches whose truth is known."""

import numpy as np
import pytest

from reports.statistics.variance_shares import Value, needed_trials, variance_shares


def test_a_single_two_valued_setting_has_its_adjusted_r_squared() -> None:
    """Means 1 and 4; of a total of 29.5 around 2.5, 2 around the means: R^2 is 1 - 4/31 of 31."""
    results = [0.0, 1.0, 2.0, 1.0, 3.0, 4.0, 5.0, 4.0]
    residual, total = 2.0 + 2.0, 4.0 + 8 * 1.5**2
    found = variance_shares({"bias": [False] * 4 + [True] * 4}, results)
    assert found.explained["bias"] == pytest.approx(1 - residual / total * 7 / 6)
    assert found.not_explained == pytest.approx(residual / total * 7 / 6)


def test_two_settings_that_explain_apart_from_one_another_share_what_both_explain() -> None:
    """A full factorial: the orders in which they enter make no difference but for the adjustment."""
    large = [0, 0, 1, 1] * 4
    small = [0, 1] * 8
    noise = np.tile([0.1, -0.1, -0.1, 0.1, -0.1, 0.1, 0.1, -0.1], 2)
    results = (3 * np.array(large) + 2 * np.array(small) + noise).tolist()
    found = variance_shares({"small": small, "large": large}, results)
    assert list(found.explained) == ["large", "small"]
    assert found.explained["large"] == pytest.approx(9 / 13, abs=0.02)
    assert found.explained["small"] == pytest.approx(4 / 13, abs=0.02)
    assert found.not_explained < 0.02


def test_settings_that_matter_only_together_explain_nothing_by_themselves() -> None:
    one, other = [0, 0, 1, 1] * 4, [0, 1, 0, 1] * 4
    results = [float(a != b) for a, b in zip(one, other, strict=True)]
    found = variance_shares({"one": one, "other": other}, results)
    assert (found.explained, found.not_explained) == ({}, 1.0)


def test_a_setting_that_repeats_another_shares_its_part() -> None:
    rates = [1e-4 * 2**place for place in range(8)]
    found = variance_shares({"rate": rates, "same": rates}, [float(place) for place in range(8)])
    assert found.explained["rate"] == pytest.approx(found.explained["same"])


def searched(dice: np.random.Generator, trials: int) -> dict[str, list[Value]]:
    return {
        "rate": np.exp(dice.uniform(np.log(1e-4), np.log(1e-2), trials)).tolist(),
        "rank": [int(rank) for rank in dice.choice([4, 8, 16], trials)],
    }


@pytest.mark.parametrize("trials", [7, 12])
def test_noise_is_seldom_taken_for_importance(trials: int) -> None:
    dice = np.random.default_rng(0)
    shown = sum(
        bool(variance_shares(searched(dice, trials), dice.normal(size=trials).tolist()).explained)
        for _ in range(200)
    )
    assert shown / 200 < 0.09


def test_a_rate_that_explains_most_is_found_in_most_searches() -> None:
    dice, found = np.random.default_rng(0), 0
    for _ in range(50):
        settings = searched(dice, 12)
        exponents = np.log10(np.array(settings["rate"], dtype=float))
        results = -((exponents + 3) ** 2) + dice.normal(0, 0.1, 12)
        found += "rate" in variance_shares(settings, results.tolist()).explained
    assert found >= 45


def test_too_few_trials_are_refused() -> None:
    settings: dict[str, list[Value]] = {"rate": [1e-4, 1e-3, 1e-2]}
    assert needed_trials(settings) == 5
    with pytest.raises(ValueError, match="3 trials are too few for 1 settings"):
        variance_shares(settings, [1.0, 2.0, 3.0])
