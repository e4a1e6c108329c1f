"""The cells of one run, or of several runs side by side, with their trials.

cells = collect_cells(results.read_run(path) for path in paths)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trainables import results
from trainables.results import Record, Run


@dataclass(frozen=True)
class Cell:
    """One combination of stage, method, model and data, with its trials in the order they started.

    ``label`` is the cell's name, preceded by the run's name where several runs have a cell of that name.
    """

    label: str
    name: str
    run: Run
    records: tuple[Record, ...]

    @property
    def is_base(self) -> bool:
        return self.records[0].role == "base"

    @property
    def method(self) -> str:
        return self.records[0].method

    @property
    def search_trials(self) -> list[Record]:
        """The trials of the search: neither the base model nor winners that were trained again."""
        return [record for record in self.records if record.role == "search"]

    @cached_property
    def best(self) -> Record | None:
        """The done search trial with the best objective; for the base model, its one row."""
        if self.is_base:
            return next((record for record in self.records if record.status == "done"), None)
        return results.best(self.records)

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """The paths of the settings that differ between the search trials, such as ``method.rank``."""
        configs = [dict(leaves(record.config)) for record in self.search_trials]
        paths = {path: None for config in configs for path in config}  # an ordered set
        # A setting that only some trials have differs too: `get` gives None for the others.
        return tuple(path for path in paths if any(c.get(path) != configs[0].get(path) for c in configs))

    def settings(self, record: Record) -> dict[str, Any]:
        """The values of the searched settings in one trial, by path."""
        config = dict(leaves(record.config))
        return {path: config[path] for path in self.searched if path in config}


def leaves(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested config by path.

    >>> dict(leaves({"method": {"rank": 8}, "train": {"learning_rate": 0.002}}))
    {'method.rank': 8, 'train.learning_rate': 0.002}
    """
    for name, value in config.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def collect_cells(runs: Iterable[Run]) -> list[Cell]:
    """The cells of all runs; a run that is given twice counts once."""
    unique = list({run.folder.resolve(): run for run in runs}.values())
    # A run counts once for each name, so a count above 1 means that several runs have such a cell.
    names = Counter(name for run in unique for name in {record.cell for record in run.records})
    return [cell for run in unique for cell in _cells(run, _unique_name(run, unique), names)]


def _unique_name(run: Run, runs: list[Run]) -> str:
    same_name = sum(other.name == run.name for other in runs) > 1
    return str(run.folder) if same_name else run.name


def _cells(run: Run, prefix: str, names: Counter[str]) -> Iterator[Cell]:
    # The base model's cell is STAGE-base for every model and data set, so the name alone is not a key.
    by_key: dict[tuple[str, ...], list[Record]] = {}
    for record in run.records:
        by_key.setdefault((record.cell, record.stage, record.model, record.data), []).append(record)
    for (name, *_), records in by_key.items():
        label = f"{prefix}: {name}" if names[name] > 1 else name
        yield Cell(label=label, name=name, run=run, records=tuple(records))
