"""What training changed: the quality on the test rows, each further evaluation set, and the mixture it trained on.

What a set loses while the quality on the test rows gains is forgetting (D. Biderman and others, "LoRA Learns Less and
Forgets Less", 2024, arXiv:2405.09673).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from reports import units
from reports.analysis.evaluation_sets import Ends, SetResults
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.statistics.comparisons import difference_interval
from reports.statistics.estimates import Estimate
from reports.statistics.intervals import SeedVariance

LEVEL = 0.95


@dataclass(frozen=True)
class Change:
    """By how much something changed in training, with its 95 % interval where the scores by row give one."""

    value: float
    interval: Ends | None

    def reversed(self) -> Change:
        ends = None if self.interval is None else (-self.interval[1], -self.interval[0])
        return Change(-self.value, ends)

    def text(self, unit: str | None) -> str:
        """``0.5 nats per token (95 %: 0.4 to 0.6)``."""
        return self._text(unit, units.difference(self.value, unit), "95 %: ")

    def bare_text(self, unit: str | None) -> str:
        """``0.5 (0.4 to 0.6)``, beside a head that has the unit."""
        return self._text(unit, units.difference(self.value, unit, bare=True), "")

    def _text(self, unit: str | None, text: str, level: str) -> str:
        if self.interval is None:
            return text
        low, high = (units.difference(end, unit, bare=True) for end in self.interval)
        return f"{text} ({level}{low} to {high})"


def lost(group: Group, each: SetResults, row: Row) -> Change | None:
    """How much worse a set is than before training, in its unit: by how much a loss rose.

    ``None`` where what the cell started from was not scored on the same rows.
    """
    now = each.quality(row)
    bases = (base for base in group.bases_of(row) if each.quality(base) is not None)
    base = next(bases, None)
    before = each.quality(base) if base is not None else None
    if row.cell.is_base or base is None or now is None or before is None:
        return None
    estimates = each.estimates.get(row.cell.label), each.estimates.get(base.cell.label)
    change = _change(now - before, *estimates, each.seed_variance)
    return change.reversed() if each.higher_is_better else change


def gained(group: Group, row: Row) -> Change | None:
    """How much better the quality on the test rows is than before training, in its unit."""
    base = group.base_of(row)
    if row.cell.is_base or base is None or row.quality is None or base.quality is None:
        return None
    change = _change(row.quality - base.quality, row.cell.estimate, base.cell.estimate, group.seed_variance)
    return change if group.higher_is_better else change.reversed()


def mixture_text(row: Row) -> str:
    """The shares of the data sets in what the cell's best trial trained on: ``64 % a, 36 % b``; empty for one set."""
    return shares_text(row.best.mixture if row.best is not None and not row.cell.is_base else {})


def shares_text(mixture: Mapping[str, int]) -> str:
    """``64 % a, 36 % b`` of the rows by data set; empty for one set."""
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


def _change(value: float, one: Estimate | None, other: Estimate | None, seeds: SeedVariance | None) -> Change:
    if one is None or other is None:
        return Change(value, None)
    low, high = difference_interval(one, other, seeds, LEVEL)
    return Change(value, (low, high) if isfinite(low) and isfinite(high) else None)
