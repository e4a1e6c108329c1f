"""The importance of rank, alpha, learning rate: how much of the objective's variance each setting explains.

Optuna's functional ANOVA (Hutter, Hoos, Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter
Importance", ICML 2014) over each cell's own study. With few trials the result would be noise, so it is not shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports import units
from reports.analysis import studies
from reports.analysis.cells import Cell
from reports.analysis.configs import leaves
from reports.analysis.studies import quiet

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MIN_TRIALS = 5
TRIALS_PER_SETTING = 3


@dataclass(frozen=True)
class Importance:
    """``shares`` by the setting's path, largest first, summing to 1; or none, and the ``reason``.

    ``trials``: the number of trials that ran to the end.
    """

    shares: dict[str, float]
    trials: int
    reason: str | None = None


def importance(cell: Cell) -> Importance:
    """How much each setting mattered in this cell, or why that can't be computed.

    >>> importance(cell).reason  # doctest: +SKIP
    'only 3 trials ran to the end; with fewer than 9, importance would be noise'
    """
    complete = [trial for trial in cell.study if studies.ran_to_the_end(trial, cell.search_trials)]
    trials = complete if cell.study else from_records(cell)
    values = {trial.value for trial in trials}
    searched = {path for trial in trials for path in trial.params} | set(cell.searched)
    count = len(trials)
    if not searched:
        return Importance({}, count, "nothing was searched in this cell")
    if len(searched) == 1:
        return Importance(
            {},
            count,
            f"only {units.setting_name(*searched)} was searched, so there is nothing to compare it with",
        )
    needed = max(MIN_TRIALS, TRIALS_PER_SETTING * len(searched))
    if count < needed:
        ended = f"only {units.count(count, 'trial')} ran to the end" if count else "no trial ran to the end"
        return Importance({}, count, f"{ended}; with fewer than {needed}, importance would be noise")
    if len(values) == 1:
        return Importance(
            {}, count, f"all {count} trials reached the same objective, so no setting made a difference"
        )
    return Importance(_shares(trials), count)


def _shares(trials: list[FrozenTrial]) -> dict[str, float]:
    import optuna

    with quiet():
        # In memory, with the finished trials alone; the seed makes fANOVA's random forest repeatable.
        study = optuna.create_study(direction="maximize")
        study.add_trials(trials)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


def from_records(cell: Cell) -> list[FrozenTrial]:
    """The cell's finished trials as Optuna's, for a run whose journal is missing."""
    import optuna

    done = [r for r in cell.search_trials if r.status == "done" and r.objective is not None]
    configs = [dict(leaves(record.config)) for record in done]
    # fANOVA needs a complete table: settings that only some of the trials have are left out.
    paths = [path for path in cell.searched if all(path in config for config in configs)]
    domains = {path: _domain([config[path] for config in configs]) for path in paths} if done else {}
    return [
        optuna.trial.create_trial(
            params={path: _plain(config[path]) for path in paths},
            distributions=domains,
            value=record.objective,
        )
        for record, config in zip(done, configs, strict=True)
    ]


def _domain(values: list[Any]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(isinstance(value, float) for value in values):
        # Without a journal the domain is unknown: the values' range stands in, logarithmic from a factor of 10.
        low, high = min(values), max(values)
        return FloatDistribution(low, high, log=low > 0 and high / low >= 10)
    return CategoricalDistribution(list(dict.fromkeys(map(_plain, values))))


def _plain(value: Any) -> Any:
    return (
        value if value is None or isinstance(value, bool | int | float | str) else units.setting_value(value)
    )
