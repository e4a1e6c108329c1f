"""The values that a cell's search chose a setting from, and the cell's quality at each of them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from reports import units
from reports.analysis import row_scores, studies
from reports.analysis.cells import Cell
from reports.analysis.configs import leaves
from reports.statistics.estimates import Estimate
from trainables import results
from trainables.results import Record

MOST_VALUES = 100  # of a range of whole numbers, beyond which it is no list of values


def domain_values(cell: Cell, setting: str) -> tuple[str, ...] | None:
    """The values of the domain that the run recorded, as they are shown; ``None`` without any, and for a range."""
    domain = studies.domains(cell.study).get(setting)
    if domain is None:
        return None
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(domain, CategoricalDistribution):
        return tuple(dict.fromkeys(_shown_choice(choice) for choice in domain.choices))
    if isinstance(domain, IntDistribution) and not domain.log:
        numbers = range(domain.low, domain.high + 1, domain.step)
        return tuple(map(units.setting_value, numbers)) if len(numbers) <= MOST_VALUES else None
    return None


def estimates_by_value(cell: Cell, setting: str) -> dict[str, Estimate] | str:
    """The estimate of a cell's best trial at each value of a setting; or why that is not known of all.

    By the objective on the validation rows, so that the figures on the test rows are not flattered.
    """
    values, name = domain_values(cell, setting), units.setting_name(setting)
    if values is None:
        return (
            f"{cell.label} recorded no list of values that its search chose {setting} from (choice: [4, 16])"
        )
    if len(values) < 2:
        return f"{cell.label} chose from fewer than two values of {setting}"
    by_value: dict[str, list[Record]] = {value: [] for value in values}
    for record in cell.search_trials:
        config = dict(leaves(record.config))
        if setting in config:
            by_value.setdefault(units.setting_value(config[setting]), []).append(record)
    if untried := [value for value, records in by_value.items() if not records]:
        return f"no trial of {cell.label} had {name} {units.join(untried)} (search.trials)"
    estimates: dict[str, Estimate] = {}
    for value, records in by_value.items():
        best = results.best(records)
        estimate = row_scores.estimate(cell.run, [best]) if best is not None else None
        if estimate is None:
            return (
                f"{cell.label} has no scored trial with {name} {value} (search: {{scheduler: none}} trains all to the "
                "end)"
            )
        estimates[f"{name} {value}"] = estimate
    return estimates


def _shown_choice(choice: Any) -> str:
    """A choice with parts is kept as JSON."""
    if isinstance(choice, str) and choice[:1] in ("[", "{"):
        with suppress(ValueError):
            choice = json.loads(choice)
    return units.setting_value(choice)
