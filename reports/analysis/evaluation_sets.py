"""Further evaluation sets: what each cell scores on them, and how that changed in training.

What a set loses while the quality on the test rows gains is forgetting (D. Biderman and others, "LoRA Learns Less and
Forgets Less", 2024, arXiv:2405.09673).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from reports import units
from reports.analysis.cells import Cell
from reports.analysis.group import Group
from reports.analysis.row import NEVER_NEGATIVE, Row
from reports.statistics import intervals
from reports.statistics.comparisons import difference_interval
from reports.statistics.estimates import Estimate
from reports.statistics.intervals import SeedVariance, pooled_seed_variance
from reports.statistics.rounding import rounded
from trainables.results import SetRecord

LEVEL = 0.95
Ends = tuple[float, float]


@dataclass(frozen=True)
class Change:
    """By how much something changed in training, with its 95 % interval where the scores by row give one."""

    value: float
    interval: Ends | None

    def reversed(self) -> Change:
        ends = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Change(-self.value, ends)


@dataclass(frozen=True)
class SetResults:
    """One further set over a group's rows. ``qualities`` and ``estimates``: by the labels of cells that were scored on
    it, over the trials that a cell is judged by. ``rows``: how many rows the set has; ``source``: of which data.
    """

    name: str
    quality_name: str
    unit: str
    higher_is_better: bool
    rows: int
    source: str
    qualities: Mapping[str, float]
    estimates: Mapping[str, Estimate]
    seed_variance: SeedVariance | None

    @property
    def shown_unit(self) -> str | None:
        return self.unit or None

    def quality(self, row: Row) -> float | None:
        return self.qualities.get(row.cell.label)

    def interval(self, row: Row) -> Ends | None:
        """The 95 % interval over the set's rows, and over seeds where several were trained."""
        estimate = self.estimates.get(row.cell.label)
        if estimate is None:
            return None
        low, high = intervals.interval(estimate, self.seed_variance)
        if not (isfinite(low) and isfinite(high)):
            return None
        return (max(0.0, low), high) if self.quality_name in NEVER_NEGATIVE else (low, high)

    def lost(self, group: Group, row: Row) -> Change | None:
        """How much worse the set is than before training, in its unit: by how much a loss rose.

        ``None`` where what the cell started from was not scored on it.
        """
        base = group.base_of(row)
        if row.cell.is_base or base is None:
            return None
        now, before = self.quality(row), self.quality(base)
        if now is None or before is None:
            return None
        estimates = self.estimates.get(row.cell.label), self.estimates.get(base.cell.label)
        change = _change(now - before, *estimates, self.seed_variance)
        return change.reversed() if self.higher_is_better else change


def gained(group: Group, row: Row) -> Change | None:
    """How much better the quality on the test rows is than before training, in its unit."""
    base = group.base_of(row)
    if row.cell.is_base or base is None or row.quality is None or base.quality is None:
        return None
    change = _change(row.quality - base.quality, row.cell.estimate, base.cell.estimate, group.seed_variance)
    return change if group.higher_is_better else change.reversed()


def set_results(group: Group) -> tuple[SetResults, ...]:
    """The sets that cells of a group were scored on, in the order of the spec."""
    names = dict.fromkeys(
        name for row in group.all_rows for record in row.cell.judged_trials for name in record.sets
    )
    return tuple(_results(group, name) for name in names)


def mixture_text(row: Row) -> str:
    """The shares of the data sets in what the cell's best trial trained on: ``64 % a, 36 % b``; empty for one set."""
    mixture = row.best.mixture if row.best is not None and not row.cell.is_base else {}
    total = sum(mixture.values())
    return (
        ", ".join(f"{units.percent(rows / total)} {name}" for name, rows in mixture.items()) if total else ""
    )


def mixtures_differ(group: Group) -> bool:
    """Whether cells were trained on several data sets in other shares."""
    return len({text for row in group.rows if (text := mixture_text(row))}) > 1


def steering_set(group: Group) -> str | None:
    """The name that the spec gives the rows which steer the search; ``None`` where it names none, or several."""
    names = set()
    for row in group.rows:
        held_out = (row.cell.records[0].config.get("data") or {}).get("eval")
        names.add(next(iter(held_out), None) if isinstance(held_out, dict) else None)
    return names.pop() if len(names) == 1 else None


def _results(group: Group, name: str) -> SetResults:
    found = {row.cell.label: _records(row.cell, name) for row in group.all_rows}
    first = next(records[0] for records in found.values() if records)
    # Of other runs a set of this name may be measured otherwise.
    alike = {
        label: records
        for label, records in found.items()
        if records and all(each.quality_name == first.quality_name for each in records)
    }
    cells = {row.cell.label: row.cell for row in group.all_rows if row.cell.label in alike}
    estimates = {
        label: cell.set_estimates[name] for label, cell in cells.items() if name in cell.set_estimates
    }
    trained = [estimates[label] for label, cell in cells.items() if label in estimates and not cell.is_base]
    return SetResults(
        name=name,
        quality_name=first.quality_name,
        unit=first.quality_unit,
        higher_is_better=first.quality_higher_is_better,
        rows=first.rows,
        source=first.source,
        qualities={label: rounded(_mean(records)) for label, records in alike.items()},
        estimates=estimates,
        seed_variance=pooled_seed_variance(trained),
    )


def _records(cell: Cell, name: str) -> list[SetRecord]:
    """What each trial that a cell is judged by scored on the set; empty where one of them was not."""
    found = [record.sets[name] for record in cell.judged_trials if name in record.sets]
    return found if len(found) == len(cell.judged_trials) else []


def _mean(records: Sequence[SetRecord]) -> float:
    return sum(each.quality for each in records) / len(records)


def _change(value: float, one: Estimate | None, other: Estimate | None, seeds: SeedVariance | None) -> Change:
    if one is None or other is None:
        return Change(value, None)
    low, high = difference_interval(one, other, seeds, LEVEL)
    return Change(value, (low, high) if isfinite(low) and isfinite(high) else None)
