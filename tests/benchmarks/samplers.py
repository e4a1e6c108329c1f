"""How good the best of a cell's trials is by sampler and number of trials, on simulated searches of known truth.

Run ``python -m tests.benchmarks.samplers [--repeats N] [--slots N] [SAMPLER ...]``. It prints a table of regrets: by
how many thousandths of a nat the true loss of the chosen trial, the best by a noisy objective, is above the lowest of
the whole space. A repeat draws another truth; all samplers meet the same ones.

The loss over the learning rate is a valley, twice as steep above its lowest place, and three times a decade above it
training diverges; where in the range the lowest place is, how steep the valley is, and what rank, alpha and dropout
change of it, is drawn for each repeat. The first trial is in the middle of the range, as a method's starting point is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from sweeps.search.samplers import propose
from sweeps.spec.settings import SearchConfig

BUDGETS = (4, 8, 12, 16)
SAMPLERS = ("random", "qmc", "tpe", "gp", "cmaes")
RATE, RANK, ALPHA, DROPOUT = "train.learning_rate", "method.rank", "method.alpha", "method.dropout"
NOISE = 0.01  # standard deviation of a trial's objective over seeds, in nats
SPACES: dict[str, dict[str, BaseDistribution]] = {
    "rate": {RATE: FloatDistribution(2e-5, 2e-3, log=True)},
    "rate, rank": {
        RATE: FloatDistribution(2e-4, 2e-2, log=True),
        RANK: CategoricalDistribution([4, 8, 16, 32]),
    },
    "rate, rank, alpha, dropout": {
        RATE: FloatDistribution(2e-4, 2e-2, log=True),
        RANK: CategoricalDistribution([4, 8, 16, 32]),
        ALPHA: CategoricalDistribution([8, 16, 32, 64]),
        DROPOUT: FloatDistribution(0.0, 0.3),
    },
}


@dataclass(frozen=True)
class Truth:
    """``rate``: the best place of the learning rate, in decades from the middle of its range, with rank 8 and alpha 16.
    ``steepness`` in nats by decades squared; ``by_rank``, ``by_dropout`` in nats, ``shift`` in decades by doubling.
    """

    rate: float
    steepness: float
    by_rank: float
    shift: float
    dropout: float
    by_dropout: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Truth:
        return cls(
            rate=float(np.clip(rng.normal(0, 0.4), -0.9, 0.9)),
            steepness=float(rng.uniform(0.1, 0.6)),
            by_rank=float(rng.uniform(0.0, 0.04)),
            shift=float(rng.uniform(0.05, 0.2)),
            dropout=float(rng.uniform(0.0, 0.3)),
            by_dropout=float(rng.uniform(0.0, 2.0)),
        )

    def loss(self, settings: dict[str, float], middle: float) -> float:
        """In nats, above that of the best place."""
        rank, alpha = settings.get(RANK, 8), settings.get(ALPHA, 16)
        # A larger alpha / rank is a larger step.
        place = self.rate - self.shift * float(np.log2(alpha / rank / 2))
        off = float(np.log10(settings[RATE] / middle)) - place
        valley = self.steepness * off**2 * (2 if off > 0 else 1) + max(0.0, off - 0.5) * 4
        dropout = self.by_dropout * (settings.get(DROPOUT, self.dropout) - self.dropout) ** 2
        return valley + self.by_rank * abs(float(np.log2(rank / 16))) + dropout


def regrets(sampler: str, space: dict[str, BaseDistribution], seed: int, slots: int) -> Iterator[float]:
    """The true regret of the best trial so far after 1, 2, ... trials, ``slots`` of which run at a time."""
    rng = np.random.default_rng(seed)
    truth, search = Truth.drawn(rng), SearchConfig(sampler=sampler, trials=max(BUDGETS), seed=seed)  # type: ignore[arg-type]
    rate = space[RATE]
    assert isinstance(rate, FloatDistribution)
    middle = float(np.sqrt(rate.low * rate.high))
    least = min(truth.loss(settings, middle) for settings in _grid(space))
    study = optuna.create_study(direction="maximize")
    noise = rng.normal(0, NOISE, max(BUDGETS))
    best: tuple[float, float] = (-np.inf, np.inf)
    for number in range(max(BUDGETS)):
        params, _ = propose(search, "cell", study.get_trials(deepcopy=False), space)
        params |= {RATE: middle} if number == 0 else {}
        study.add_trial(create_trial(state=TrialState.RUNNING, params=params, distributions=space))
        # The oldest of those that run ends as the next one starts.
        if number + 1 >= slots:
            ended = study.get_trials(deepcopy=False)[number + 1 - slots]
            study.tell(ended.number, -truth.loss(ended.params, middle) + noise[ended.number])
        loss = truth.loss(params, middle)
        best = max(best, (-loss + noise[number], loss - least))
        yield best[1]


def _grid(space: dict[str, BaseDistribution]) -> Iterator[dict[str, float]]:
    axes = []
    for each in space.values():
        if isinstance(each, CategoricalDistribution):
            axes.append(np.array(each.choices, dtype=float))
        else:
            assert isinstance(each, FloatDistribution)
            spaced = np.geomspace if each.log else np.linspace
            axes.append(spaced(each.low, each.high, 60 if len(space) < 4 else 31))
    for point in np.stack(np.meshgrid(*axes), -1).reshape(-1, len(space)):
        yield dict(zip(space, map(float, point), strict=True))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("samplers", nargs="*", default=SAMPLERS)
    arguments.add_argument("--repeats", type=int, default=16)
    arguments.add_argument("--slots", type=int, default=2)
    given = arguments.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"regret in thousandths of a nat, mean of {given.repeats} truths, {given.slots} trials at a time")
    print("searched | sampler | " + " | ".join(f"{budget} trials" for budget in BUDGETS))
    for name, space in SPACES.items():
        for sampler in given.samplers:
            paths = [list(regrets(sampler, space, seed, given.slots)) for seed in range(given.repeats)]
            means = [f"{1000 * fmean(path[budget - 1] for path in paths):.1f}" for budget in BUDGETS]
            print(f"{name} | {sampler} | " + " | ".join(means), flush=True)


if __name__ == "__main__":
    main()
