"""Which settings decide whether a trial is among the best quarter, by the order of the trials alone."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from reports.statistics.top_importance import top_importance

optuna.logging.set_verbosity(optuna.logging.WARNING)
SPACE = {"rate": FloatDistribution(1e-4, 1e-2, log=True), "rank": CategoricalDistribution([4, 8, 16])}


def drawn(count: int, seed: int = 0) -> list[FrozenTrial]:
    rng = np.random.default_rng(seed)
    return [
        create_trial(
            value=0.0,
            params={"rate": float(10 ** rng.uniform(-4, -2)), "rank": int(rng.choice([4, 8, 16]))},
            distributions=SPACE,
        )
        for _ in range(count)
    ]


def test_the_setting_that_the_order_follows_decides_all_that_is_decided() -> None:
    trials = drawn(24)
    found = top_importance(trials, [-abs(np.log10(trial.params["rate"]) + 3) for trial in trials])
    assert list(found.shares) == ["rate"]
    assert found.shares["rate"] == pytest.approx(1.0)
    assert found.like_noise == ("rank",)


def test_the_order_among_the_worse_trials_does_not_matter() -> None:
    """A search that stops them knows no more of it than that they are worse."""
    trials = drawn(24)
    order = np.array([-abs(np.log10(trial.params["rate"]) + 3) for trial in trials])
    worse = order < np.sort(order)[-6]
    assert top_importance(trials, order) == top_importance(trials, np.where(worse, -99.0, order))


def test_noise_is_taken_for_importance_in_about_one_search_of_twenty() -> None:
    rng = np.random.default_rng(1)
    found = [top_importance(drawn(12, seed), rng.permutation(12).tolist()).shares for seed in range(20)]
    assert sum(map(bool, found)) <= 4


def test_fewer_than_eight_trials_have_no_best_quarter_of_two() -> None:
    with pytest.raises(ValueError, match="7 trials"):
        top_importance(drawn(7), range(7))
