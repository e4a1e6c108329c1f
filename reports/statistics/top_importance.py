"""Which settings decide whether a trial is among the best quarter of a search, of which most trials may have been
stopped.

PED-ANOVA (S. Watanabe, A. Bansal and F. Hutter, IJCAI 2023, arXiv:2304.10255) compares where the best trials lie with
where all lie, by Pearson's divergence of one setting at a time. It needs the order of the trials alone, which a search
that stops the worse ones early gives, too. The null is the same order, permuted among the trials.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TOP = 0.25
MIN_TRIALS = 8  # two of which are among the best quarter
PERMUTATIONS = 100
NOISE_LEVEL = 0.95


@dataclass(frozen=True)
class TopImportance:
    """``shares`` of what the settings that matter more than noise decide, the largest first; they add up to 1.
    ``like_noise``: the other settings.
    """

    shares: dict[str, float]
    like_noise: tuple[str, ...]


def top_importance(trials: Sequence[FrozenTrial], order: Sequence[float]) -> TopImportance:
    """``trials`` with their settings and domains, all the same; ``order`` (trials,): higher is better.

    Raises ``ValueError`` for fewer than :data:`MIN_TRIALS`.
    """
    import optuna
    from optuna.trial import create_trial

    if len(trials) < MIN_TRIALS:
        raise ValueError(f"{len(trials)} trials have no best quarter of two")
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [create_trial(value=0.0, params=t.params, distributions=t.distributions) for t in trials]
    )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP)

    def divergences(ordered: np.ndarray) -> dict[str, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it minimizes, says Optuna each time
            return evaluator.evaluate(study, target=lambda trial: -float(ordered[trial.number]))

    values = np.asarray(order, dtype=float)
    rng = np.random.default_rng(0)
    by_chance = [max(divergences(rng.permutation(values)).values()) for _ in range(PERMUTATIONS)]
    limit = float(np.quantile(by_chance, NOISE_LEVEL, method="higher"))
    found = divergences(values)
    clear = {name: value for name, value in found.items() if value > limit}
    total = sum(clear.values())
    shares = {name: value / total for name, value in sorted(clear.items(), key=lambda pair: -pair[1])}
    return TopImportance(shares, tuple(name for name in found if name not in clear))
