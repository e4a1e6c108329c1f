"""Further evaluation sets: what each cell scores on them, over the trials that it is judged by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from reports import units
from reports.analysis.cells import Cell
from reports.analysis.row import NEVER_NEGATIVE, Row
from reports.statistics import intervals
from reports.statistics.estimates import Estimate
from reports.statistics.intervals import SeedVariance, pooled_seed_variance
from reports.statistics.rounding import rounded
from trainables.results import SetRecord

Ends = tuple[float, float]
DataKey = tuple[str, int]
SHOWN_HASH = 8  # hexadecimal digits


@dataclass(frozen=True)
class SetResults:
    """One further set over a group's rows. ``qualities`` and ``estimates``: by the labels of cells that were scored on
    it, over the trials that a cell is judged by. ``rows``: how many rows the set has; ``source``: of which data;
    ``sha256``: the hash of its rows, ``None`` in records of earlier versions.

    Other rows under the same name, of another run or cell, are other results; ``title`` tells them apart.
    """

    name: str
    title: str
    quality_name: str
    unit: str
    higher_is_better: bool
    rows: int
    source: str
    sha256: str | None
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


def results_of(rows: Sequence[Row]) -> tuple[SetResults, ...]:
    """The sets that cells were scored on in all trials that they are judged by, in the order of the spec; those of one
    name and other rows one after another.
    """
    names = dict.fromkeys(name for row in rows for record in row.cell.judged_trials for name in record.sets)
    return tuple(each for name in names for each in _results(rows, name))


def data_of(record: SetRecord) -> DataKey:
    """What tells rows of one set from other rows: their hash, or where an earlier version wrote none their source; and
    how many of them were scored (``eval_rows``).
    """
    return record.sha256 or record.source, record.rows


def _results(rows: Sequence[Row], name: str) -> Iterator[SetResults]:
    """One for each data that cells were scored on under the name."""
    by_data: dict[DataKey, dict[str, list[SetRecord]]] = {}
    for row in rows:
        records = _records(row.cell, name)
        if records and len({data_of(each) for each in records}) == 1:
            by_data.setdefault(data_of(records[0]), {})[row.cell.label] = records
    titles = _titles(name, [next(iter(found.values()))[0] for found in by_data.values()])
    for title, found in zip(titles, by_data.values(), strict=True):
        first = next(iter(found.values()))[0]
        # Another run may measure the same rows otherwise.
        alike = {
            label: records
            for label, records in found.items()
            if all(each.quality_name == first.quality_name for each in records)
        }
        cells = [row.cell for row in rows if row.cell.label in alike]
        estimates = {cell.label: cell.set_estimates[name] for cell in cells if name in cell.set_estimates}
        trained = [estimates[cell.label] for cell in cells if cell.label in estimates and not cell.is_base]
        yield SetResults(
            name=name,
            title=title,
            quality_name=first.quality_name,
            unit=first.quality_unit,
            higher_is_better=first.quality_higher_is_better,
            rows=first.rows,
            source=first.source,
            sha256=first.sha256,
            qualities={label: rounded(_mean(records)) for label, records in alike.items()},
            estimates=estimates,
            seed_variance=pooled_seed_variance(trained),
        )


def _titles(name: str, records: Sequence[SetRecord]) -> list[str]:
    """For each data the name, where there are several with as much as tells them apart: file, hash, number of rows."""
    if len(records) < 2:
        return [name] * len(records)
    parts = [
        (
            Path(each.source).name,
            (each.sha256 or "")[:SHOWN_HASH] or each.source,
            units.count(each.rows, "row"),
        )
        for each in records
    ]
    known = next((n for n in (1, 2) if len({each[:n] for each in parts}) == len(parts)), 3)
    return [f"{name} ({', '.join(each[:known])})" for each in parts]


def _records(cell: Cell, name: str) -> list[SetRecord]:
    """What each trial that a cell is judged by scored on the set; empty where one of them was not, or not measured."""
    found = [
        record.sets[name]
        for record in cell.judged_trials
        if name in record.sets and record.sets[name].quality is not None
    ]
    return found if len(found) == len(cell.judged_trials) else []


def _mean(records: Sequence[SetRecord]) -> float:
    qualities = [each.quality for each in records if each.quality is not None]
    return sum(qualities) / len(qualities)


def not_measured(rows: Sequence[Row]) -> list[str]:
    """A sentence for each cell and further set on which a trial's measure was not finite."""
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        for record in row.cell.judged_trials:
            for name, each in record.sets.items():
                if each.not_measured is not None:
                    sentence = f"{row.display_name} was not measured on {name}: {each.not_measured}"
                    found.setdefault((row.cell.label, name), f"{sentence} after trial {record.trial_id}.")
    return list(found.values())
