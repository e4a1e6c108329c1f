"""The values that a cell's search chose a setting from, and the cell's quality at each of them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from reports import units
from reports.analysis import row_scores, studies
from reports.analysis.cells import Cell
from reports.analysis.configs import leaves
from reports.statistics.estimates import Estimate
from reports.text import text
from trainables import results
from trainables.results import Record

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MOST_VALUES = 100  # beyond which a range in steps is no list of values
DIGITS = 12  # to which a search rounds the values of a range in steps


def domain_values(cell: Cell, setting: str) -> tuple[str, ...] | None:
    """The values of the domain that the run recorded, as they are shown; ``None`` without any, and for a range."""
    values = _values(cell, setting)
    return tuple(values.values()) if values is not None else None


def estimates_by_value(cell: Cell, setting: str) -> dict[str, Estimate] | str:
    """The estimate of a cell's best trial at each value of a setting; or why that is not known of all.

    By the objective on the validation rows, so that the figures on the test rows are not flattered.
    """
    values, name = _values(cell, setting), units.setting_name(setting)
    if values is None:
        return text(
            "{cell} recorded no list of values that its search chose {setting} from (choice: [4, 16])",
            cell=cell.label,
            setting=setting,
        )
    if len(values) < 2:
        return text("{cell} chose from fewer than two values of {setting}", cell=cell.label, setting=setting)
    by_value: dict[str, list[Record]] = {key: [] for key in values}
    for record in cell.search_trials:
        config = dict(leaves(record.config))
        if setting in config and (key := _key(config[setting])) in by_value:
            by_value[key].append(record)
    if untried := [values[key] for key, records in by_value.items() if not records]:
        return text(
            "no trial of {cell} had {setting} {values} (search.trials)",
            cell=cell.label,
            setting=name,
            values=units.join(untried),
        )
    estimates: dict[str, Estimate] = {}
    for key, records in by_value.items():
        best = results.best(records)
        estimate = row_scores.estimate(cell.run, [best]) if best is not None else None
        if estimate is None:
            return text(
                "{cell} has no scored trial with {setting} {value} (search: {{scheduler: none}} trains all to the end)",
                cell=cell.label,
                setting=name,
                value=values[key],
            )
        estimates[f"{name} {values[key]}"] = estimate
    return estimates


def _values(cell: Cell, setting: str) -> dict[str, str] | None:
    """The values as they are shown, by their keys."""
    domain = studies.domains(cell.study).get(setting)
    found = _listed(domain) if domain is not None else None
    if found is None:
        return None
    keys = [_key(value) for value in found]
    shown = list(map(units.setting_value, found))
    # Numbers are shown with three digits, unless that makes two of them one.
    return dict(zip(keys, shown if len({*shown}) == len({*keys}) else keys, strict=True))


def _listed(domain: BaseDistribution) -> list[Any] | None:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, CategoricalDistribution):
        return [_choice(choice) for choice in domain.choices]
    assert isinstance(domain, FloatDistribution | IntDistribution)
    if domain.step is None:
        return None
    count = round((domain.high - domain.low) / domain.step) + 1
    if count > MOST_VALUES:
        return None
    numbers = [domain.low + domain.step * number for number in range(count)]
    return numbers if isinstance(domain, IntDistribution) else [round(number, DIGITS) for number in numbers]


def _choice(choice: Any) -> Any:
    """A choice with parts is kept as JSON."""
    if isinstance(choice, str) and choice[:1] in ("[", "{"):
        with suppress(ValueError):
            return json.loads(choice)
    return choice


def _key(value: Any) -> str:
    # 1 and 1.0 are one value.
    plain = int(value) if isinstance(value, float) and value.is_integer() else value
    return json.dumps(plain, sort_keys=True)
