"""Samplers: what they propose for a cell's next trial, from its trials and a seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.search.draws import share_of, value_at
from sweeps.search.samplers import Request, cma_es, gaussian_process, propose, tpe
from sweeps.spec.settings import SearchConfig

RATE = FloatDistribution(1e-4, 1e-2, log=True)
SPACE: dict[str, BaseDistribution] = {
    "train.learning_rate": RATE,
    "method.rank": CategoricalDistribution([16, 4, 8]),
    "method.targets": CategoricalDistribution(["all-linear", "attention"]),
}


def trial(
    rate: float, objective: float | None, state: TrialState = TrialState.COMPLETE, **more: Any
) -> FrozenTrial:
    params = {"train.learning_rate": rate, "method.rank": 8, "method.targets": "attention"}
    value = objective if state == TrialState.COMPLETE else None
    return create_trial(state=state, params=params, distributions=SPACE, value=value, **more)


def valley(rates: Sequence[float]) -> list[FrozenTrial]:
    """Trials that are the better the nearer they are to a rate of 1e-3."""
    return [trial(rate, -abs(3 * share_of(RATE, rate) - 1.5)) for rate in rates]


SPREAD = [1e-4, 3e-4, 7e-4, 1.5e-3, 4e-3, 1e-2]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_results_steer_from_the_sixth_trial_on(sampler: Any) -> None:
    search = SearchConfig(sampler=sampler, trials=20, seed=1)
    drawn = propose(search, "cell", valley(SPREAD[:4]), SPACE)
    assert drawn[1] == ("random" if sampler == "tpe" else "quasi-random")
    steered, origin = propose(search, "cell", valley(SPREAD), SPACE)
    assert origin == "results"
    assert steered == propose(search, "cell", valley(SPREAD), SPACE)[0]
    assert steered != propose(search, "other", valley(SPREAD), SPACE)[0]
    assert set(steered) == set(SPACE)
    assert all(SPACE[leaf]._contains(SPACE[leaf].to_internal_repr(value)) for leaf, value in steered.items())


@pytest.mark.parametrize(("trials", "sampler"), [(7, "qmc"), (8, "gp"), (30, "gp")])
def test_auto_takes_a_gaussian_process_where_results_can_steer_enough_trials(
    trials: int, sampler: str
) -> None:
    assert SearchConfig(trials=trials).chosen_sampler == sampler
    assert SearchConfig(sampler="tpe", trials=trials).chosen_sampler == "tpe"


def test_a_gaussian_process_proposes_near_the_best_and_treats_choices_of_numbers_as_ordered() -> None:
    ordered: dict[str, BaseDistribution] = {"method.rank": CategoricalDistribution([64, 2, 16, 4, 32, 8])}
    seen = [
        create_trial(value=-abs(doublings - 5.0), params={"method.rank": 2**doublings}, distributions=ordered)
        for doublings in (1, 2, 4, 6)
    ]
    assert gaussian_process(Request(seen, ordered, 4, seed=0)) == {"method.rank": 32}


def test_a_gaussian_process_keeps_off_what_did_not_fit() -> None:
    """Trials above 2e-3 ran out of memory; without that they would be where the objective still rises."""
    rising = [trial(rate, share_of(RATE, rate)) for rate in (1e-4, 3e-4, 6e-4, 1e-3, 1.5e-3)]
    ran_out = {"constraints": {"memory": 1.0}, "intermediate_values": {4: 9.0}}
    too_large = [trial(rate, None, TrialState.PRUNED, **ran_out) for rate in (3e-3, 5e-3, 9e-3)]
    proposed = gaussian_process(Request([*rising, *too_large], SPACE, 8, seed=0))
    assert proposed["train.learning_rate"] < 3e-3


def test_stopped_trials_steer_by_their_last_comparison() -> None:
    """Also before any trial is finished: all are paused at the first rung while others are proposed."""
    paused = [
        trial(rate, None, TrialState.RUNNING, intermediate_values={4: -abs(3 * share_of(RATE, rate) - 1.5)})
        for rate in SPREAD
    ]
    for sampler in (gaussian_process, tpe):
        rate = sampler(Request(paused, SPACE, 6, seed=0))["train.learning_rate"]
        assert 5e-4 < rate < 2.5e-3


def test_what_trials_are_compared_by_on_their_way_needs_no_scale_in_common_with_their_objective() -> None:
    """A training loss may be far above the loss on the validation rows, and the worse of a diverged trial endless."""
    finished = valley([7e-4, 1.5e-3])
    for far, scale in ((-9.0, 1.0), (-1e9, 1e6)):
        stopped = [
            trial(rate, None, TrialState.PRUNED, intermediate_values={4: far - scale * abs(rate - 1e-3)})
            for rate in (1e-4, 3e-4, 4e-3, 1e-2)
        ]
        rate = gaussian_process(Request([*finished, *stopped], SPACE, 6, seed=0))["train.learning_rate"]
        assert 4e-4 < rate < 3e-3


def test_generations_of_cma_es_move_towards_what_was_better() -> None:
    """Of thirty trials that CMA-ES proposed itself, the last ones are near the best rate."""
    space = {"train.learning_rate": RATE}
    seen: list[FrozenTrial] = []
    for number in range(30):
        params = cma_es(Request(seen, space, number, seed=number))
        value = -abs(3 * share_of(RATE, params["train.learning_rate"]) - 2.4)
        seen.append(create_trial(value=value, params=params, distributions=space))
    late = [share_of(RATE, each.params["train.learning_rate"]) for each in seen[-6:]]
    assert all(abs(share - 0.8) < 0.15 for share in late)


def test_cma_es_draws_what_is_no_number() -> None:
    only_words: dict[str, BaseDistribution] = {"method.targets": SPACE["method.targets"]}
    proposed = cma_es(Request([], only_words, 6, seed=0))
    assert proposed["method.targets"] in ("all-linear", "attention")


@pytest.mark.parametrize(
    "distribution",
    [
        RATE,
        FloatDistribution(0, 0.3, step=0.1),
        IntDistribution(1, 64, log=True),
        IntDistribution(2, 8, step=2),
    ],
)
def test_a_share_of_a_domain_is_that_of_its_value(distribution: Any) -> None:
    for share in (0.0, 0.1, 0.5, 0.77, 0.999):
        value = value_at(distribution, share)
        assert value_at(distribution, share_of(distribution, value)) == pytest.approx(value)
