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
from typing import Any, Literal, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.search.draws import Distributions, in_order, quasi_random_draw, random_draw, share_of, value_at
from sweeps.spec.domains import is_number
from sweeps.spec.settings import STARTUP, SearchConfig

# Where settings come from. "start": the method's starting point; "earlier": an earlier run; "results": those of
# earlier trials; "rest": what is left of a finite space.
Origin = Literal["start", "earlier", "random", "quasi-random", "results", "rest"]
# It says at every start that a package is missing which would make proposals faster; they take half a second.
logging.getLogger("optuna._gp.batched_lbfgsb").setLevel(logging.ERROR)
WORST = 4.0  # times as far from the best as the median: what is worse counts as that
FEASIBLE = "feasible"  # the constraint that trials without a result violate
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
    seen = map(_as_seen_by_tpe, filter(_says_something, request.trials))
    return _asked(sampler, seen, request.distributions)


def gaussian_process(request: Request) -> dict[str, Any]:
    """Optuna's Gaussian process (expected improvement, Matern kernel), with choices of numbers in their order.

    It is fitted to the trials' scores. Trials without a result are infeasible; running ones that have not been compared
    are averaged over.
    """
    trials = list(filter(_says_something, request.trials))
    space = {leaf: _in_order(distribution) for leaf, distribution in request.distributions.items()}
    seen = [
        _copy(
            trial, {leaf: _place(request.distributions[leaf], v) for leaf, v in trial.params.items()}, space
        )
        for trial in trials
    ]
    scores = _scores(trials)
    usual = _usual(scores)
    scored = [_as_seen_by_process(*each, usual) for each in zip(seen, scores, strict=True)]
    asked = _asked(optuna.samplers.GPSampler(seed=request.seed, n_startup_trials=1), scored, space)
    return {leaf: _value(request.distributions[leaf], place) for leaf, place in asked.items()}


def cma_es(request: Request) -> dict[str, Any]:
    """Covariance matrix adaptation (Hansen and Ostermeier, 2001) of the numbers; other choices are drawn at random.

    Trials form generations by their numbers. A generation learns from the order of the trials before it; of these, one
    without a result is the worst, and a running one that has not been compared is in the middle.
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
    dimensions: Sequence[str] | None = None,
) -> tuple[dict[str, Any], Origin]:
    """The settings of the next trial of a cell's study, and where they come from.

    ``attempt``: how many proposals for it were none that is new. ``dimensions``: the settings of all cells that are
    compared, in the order of a quasi-random sequence; by default those of this cell.
    """
    number, sampler = len(trials), search.chosen_sampler
    if sampler == "random" or (sampler == "tpe" and not search.steers(number)):
        return random_draw(distributions, search.seed, number, attempt), "random"
    # A point that isn't new gives way to the next of the sequence, which later proposals then skip. A Gaussian process
    # that proposes what has been tried would do so again.
    if not search.steers(number) or (sampler == "gp" and attempt):
        order = dimensions or in_order(distributions)
        return quasi_random_draw(distributions, search.seed, number + attempt, order), "quasi-random"
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


def _says_something(trial: FrozenTrial) -> bool:
    """Whether a trial says anything of its settings: one that a person stopped before its first result doesn't."""
    return trial.state != TrialState.PRUNED or bool(trial.intermediate_values or trial.constraints)


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


def _as_seen_by_process(trial: FrozenTrial, score: float | None, usual: float) -> FrozenTrial:
    if trial.state == TrialState.RUNNING and score is None:
        return trial
    # Of an infeasible trial nothing is known but that: its value is that of any.
    return _copy(
        trial,
        trial.params,
        trial.distributions,
        state=TrialState.COMPLETE,
        value=usual if score is None else score,
        constraints={FEASIBLE: 1.0 if score is None else -1.0},
    )


def _usual(scores: Sequence[float | None]) -> float:
    known = [score for score in scores if score is not None]
    return median(known) if known else 0.0


def _losses(trials: Sequence[FrozenTrial]) -> list[float]:
    """What CMA-ES minimizes, by the order of the trials alone."""
    scores = _scores(trials)
    usual = -_usual(scores)

    def loss(trial: FrozenTrial) -> float:
        unknown = trial.state == TrialState.RUNNING or not _says_something(trial)
        return usual if unknown else math.inf

    return [loss(trial) if score is None else -score for trial, score in zip(trials, scores, strict=True)]


def _scores(trials: Sequence[FrozenTrial]) -> list[float | None]:
    """How good each trial is; ``None`` for those of which that isn't known.

    The leading trials, which are finished or else came furthest, have their objectives, but for what is far worse than
    the median one: training that diverged would flatten all other differences. The others are below these in their
    order, evenly spread over a range of the same size: a trial that came further was among the better ones at each
    comparison before. So what trials are compared by on their way needs no scale in common with their objective.
    """
    keys = [_order(trial) for trial in trials]
    known = sorted((key for key in keys if key is not None), reverse=True)
    leading = [key[-1] for key in known if key[:2] == known[0][:2]]
    if not leading:
        return [None] * len(trials)
    floor = leading[0] - WORST * (leading[0] - median(leading))
    least = max(leading[-1], floor)
    behind = known[len(leading) :]
    size = leading[0] - least or 1.0
    places = {key: least - size * (place + 1) / len(behind) for place, key in enumerate(behind)}
    return [None if key is None else places.get(key, max(key[-1], floor)) for key in keys]


def _order(trial: FrozenTrial) -> tuple[bool, int, float] | None:
    if any(violation > 0 for violation in trial.constraints.values()):
        return None
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return True, 0, trial.value
    if trial.state in (TrialState.PRUNED, TrialState.RUNNING) and trial.intermediate_values:
        step = max(trial.intermediate_values)
        return False, step, trial.intermediate_values[step]
    return None


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
    return sorted(cast("list[float]", list(distribution.choices)))


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
