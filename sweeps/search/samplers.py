"""Proposals that results steer. Each depends on a cell's trials, a seed and the proposal's number alone.

Optuna's samplers keep a state of their own, so each proposal is made by a new one from a copy of the study: in the
study itself a proposal that turns out not to be new would stay as a trial.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.search.draws import Distributions, quasi_random_draw, random_draw, share_of, value_at
from sweeps.spec.domains import is_number
from sweeps.spec.settings import STARTUP, SearchConfig

# Where settings come from. "start": the method's starting point; "earlier": an earlier run; "results": those of
# earlier trials; "rest": what is left of a finite space.
Origin = Literal["start", "earlier", "random", "quasi-random", "results", "rest"]
# It says at every start that a package is missing which would make proposals faster; they take half a second.
logging.getLogger("optuna._gp.batched_lbfgsb").setLevel(logging.ERROR)
FEASIBLE = "feasible"  # the constraint that trials without a result violate
WORST = 4.0  # times as far from the best as the median: what is worse counts as that
STEP_SIZE = 0.3  # of CMA-ES at its start, as a share of each domain


@dataclass(frozen=True)
class Request:
    """What is proposed for: the ``number``-th trial, from 0, of a study with these ``trials``."""

    trials: Sequence[FrozenTrial]
    distributions: Distributions
    number: int
    seed: int


def tpe(request: Request) -> dict[str, Any]:
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011)."""
    # `constant_liar` counts running trials among the bad ones, so that parallel proposals keep apart.
    sampler = optuna.samplers.TPESampler(seed=request.seed, n_startup_trials=STARTUP, constant_liar=True)
    return _asked(sampler, map(_as_seen_by_tpe, request.trials), request.distributions)


def gaussian_process(request: Request) -> dict[str, Any]:
    """Optuna's Gaussian process (expected improvement, Matern kernel), with choices of numbers in their order.

    Trials that were stopped, or are still running, count with their last comparison, or as the worst finished one where
    that is worse; trials without a result as infeasible. Running ones without a comparison are averaged over.
    """
    space = {leaf: _in_order(distribution) for leaf, distribution in request.distributions.items()}
    seen = [
        _copy(
            trial, {leaf: _place(request.distributions[leaf], v) for leaf, v in trial.params.items()}, space
        )
        for trial in request.trials
    ]
    finished = _finished(seen)
    sampler = optuna.samplers.GPSampler(seed=request.seed, n_startup_trials=1)
    asked = _asked(sampler, [_as_seen_by_process(trial, finished) for trial in seen], space)
    return {leaf: _value(request.distributions[leaf], place) for leaf, place in asked.items()}


def cma_es(request: Request) -> dict[str, Any]:
    """Covariance matrix adaptation (Hansen and Ostermeier, 2001) of the numbers; other choices are drawn at random.

    Trials form generations by their numbers. A generation learns from those before it; of these, a trial without a
    result is the worst, and a running one a median one.
    """
    import numpy as np
    from cmaes import CMA

    numbers = [leaf for leaf, each in request.distributions.items() if _is_ordered(each)]
    drawn = random_draw(request.distributions, request.seed, request.number, 0)
    if not numbers:
        return drawn
    # CMA-ES knows no single dimension: an additional one, which has no effect, stands beside it.
    width = max(2, len(numbers))
    size = 4 + math.floor(3 * math.log(width))
    generation = request.number // size
    bounds = np.tile([0.0, 1.0], (width, 1))
    optimizer = CMA(
        mean=np.full(width, 0.5), sigma=STEP_SIZE, bounds=bounds, seed=request.seed, population_size=size
    )
    losses = _losses(request.trials)
    for begin in range(0, generation * size, size):
        points = [_point(request, index, numbers, width) for index in range(begin, begin + size)]
        optimizer.tell(list(zip(points, losses[begin : begin + size], strict=True)))
    shares = dict(zip(numbers, optimizer.ask(), strict=False))
    return drawn | {leaf: _at(request.distributions[leaf], float(share)) for leaf, share in shares.items()}


STEERED: dict[str, Callable[[Request], dict[str, Any]]] = {
    "tpe": tpe,
    "gp": gaussian_process,
    "cmaes": cma_es,
}


def propose(
    search: SearchConfig,
    cell: str,
    trials: Sequence[FrozenTrial],
    distributions: Distributions,
    attempt: int = 0,
) -> tuple[dict[str, Any], Origin]:
    """The settings of the next trial of a cell's study, and where they come from.

    ``attempt``: how many proposals for it were none that is new.
    """
    number, sampler = len(trials), search.chosen_sampler
    if sampler == "random" or (sampler == "tpe" and not search.steers(number)):
        return random_draw(distributions, search.seed, number, attempt), "random"
    # A point that isn't new gives way to the next of the sequence, which later proposals then skip. A Gaussian process
    # that proposes what has been tried would do so again.
    if not search.steers(number) or (sampler == "gp" and attempt):
        return quasi_random_draw(distributions, search.seed, number + attempt), "quasi-random"
    # A checksum, because Python salts the `hash` of a text anew in every process.
    seed = zlib.crc32(f"{search.seed} {cell} {number} {attempt}".encode())
    return STEERED[sampler](Request(trials, distributions, number, seed)), "results"


def _asked(sampler: Any, trials: Any, distributions: Distributions) -> dict[str, Any]:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(list(trials))
    return study.ask(dict(distributions)).params


def _copy(
    trial: FrozenTrial, params: dict[str, Any], distributions: Distributions, **changes: Any
) -> FrozenTrial:
    kept = {
        "state": trial.state,
        "value": trial.value if trial.state == TrialState.COMPLETE else None,
        "intermediate_values": trial.intermediate_values,
    }
    return create_trial(params=params, distributions=dict(distributions), **{**kept, **changes})


def _as_seen_by_tpe(trial: FrozenTrial) -> FrozenTrial:
    """TPE ignores failed trials, and would propose similar ones again and again; and how running ones compare."""
    if trial.state == TrialState.RUNNING and trial.intermediate_values:
        return _copy(trial, trial.params, trial.distributions, state=TrialState.PRUNED)
    if trial.state != TrialState.FAIL:
        return trial
    return create_trial(
        state=TrialState.PRUNED,
        params=trial.params,
        distributions=trial.distributions,
        constraints={"ended well": 1.0},
    )


def _as_seen_by_process(trial: FrozenTrial, finished: Sequence[float]) -> FrozenTrial:
    objective = _objective(trial, finished)
    if trial.state == TrialState.RUNNING and objective is None:
        return trial
    infeasible = objective is None
    # Of an infeasible trial nothing is known but that: its value is that of any.
    value = median(finished) if objective is None and finished else objective or 0.0
    return _copy(
        trial,
        trial.params,
        trial.distributions,
        state=TrialState.COMPLETE,
        value=max(value, _floor(finished)),
        constraints={FEASIBLE: 1.0 if infeasible else -1.0},
    )


def _finished(trials: Sequence[FrozenTrial]) -> list[float]:
    ended = (trial.value for trial in trials if trial.state == TrialState.COMPLETE)
    return [value for value in ended if value is not None]


def _objective(trial: FrozenTrial, finished: Sequence[float]) -> float | None:
    """A trial's objective; of one that was stopped, or has been compared on its way, no better than the worst finished
    one's.
    """
    if trial.state == TrialState.COMPLETE:
        return trial.value
    if trial.state in (TrialState.PRUNED, TrialState.RUNNING) and trial.intermediate_values:
        last = trial.intermediate_values[max(trial.intermediate_values)]
        return min([last, *finished])
    return None


def _floor(finished: Sequence[float]) -> float:
    """What a much worse objective counts as: training that diverged would flatten all other differences."""
    if not finished:
        return -math.inf
    best = max(finished)
    return best - WORST * (best - median(finished)) if median(finished) < best else -math.inf


def _losses(trials: Sequence[FrozenTrial]) -> list[float]:
    finished = _finished(trials)
    usual = median(finished) if finished else 0.0
    known = [_objective(trial, finished) for trial in trials]
    worst = min([value for value in known if value is not None], default=0.0)
    return [
        -(value if value is not None else usual if trial.state == TrialState.RUNNING else worst)
        for trial, value in zip(trials, known, strict=True)
    ]


def _point(request: Request, index: int, numbers: Sequence[str], width: int) -> Any:
    import numpy as np

    trial = request.trials[index]
    shares = [_share(request.distributions[leaf], trial.params[leaf]) for leaf in numbers]
    return np.array([*shares, *[0.5] * (width - len(shares))])


def _is_ordered(distribution: BaseDistribution) -> bool:
    """Whether a domain has numbers alone, which are near to or far from one another."""
    if isinstance(distribution, CategoricalDistribution):
        return all(map(is_number, distribution.choices))
    return True


def _ascending(distribution: CategoricalDistribution) -> list[Any]:
    return sorted(distribution.choices)  # type: ignore[type-var]


def _in_order(distribution: BaseDistribution) -> BaseDistribution:
    """The domain with the places of numbers instead of a choice of them."""
    if isinstance(distribution, CategoricalDistribution) and _is_ordered(distribution):
        return IntDistribution(0, len(distribution.choices) - 1)
    return distribution


def _place(distribution: BaseDistribution, value: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution) and _is_ordered(distribution):
        return _ascending(distribution).index(value)
    return value


def _value(distribution: BaseDistribution, place: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution) and _is_ordered(distribution):
        return _ascending(distribution)[place]
    return place


def _share(distribution: BaseDistribution, value: Any) -> float:
    """Where in its domain, from 0 to 1, a number lies."""
    ordered = _in_order(distribution)
    assert isinstance(ordered, FloatDistribution | IntDistribution)
    return share_of(ordered, _place(distribution, value))


def _at(distribution: BaseDistribution, share: float) -> Any:
    return _value(distribution, value_at(_in_order(distribution), min(share, 1 - 1e-9)))
