"""The cells of one run, or of several runs side by side, with their trials.

cells = collect_cells(results.read_run(path) for path in paths)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from reports.analysis import row_scores, studies
from reports.analysis.class_quality import of_one_quality
from reports.analysis.configs import leaves, varied, within
from reports.statistics.estimates import Estimate
from reports.statistics.rounding import rounded
from trainables import results
from trainables.results import Record, Run

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Cell:
    """One combination of stage, method, model and data, with its trials in the order they started.

    ``label`` is the cell's name, preceded by the run's name where several runs have a cell of that name.
    ``further_rows``: how many of the test rows that were scored later count, too.
    """

    label: str
    name: str
    run: Run
    records: tuple[Record, ...]
    further_rows: int = 0

    @property
    def is_base(self) -> bool:
        return self.records[0].role == "base"

    @cached_property
    def key(self) -> str:
        """A name without special characters, for programs: a hash of stage, model, data and label."""
        first = self.records[0]
        text = "\0".join((first.stage, first.model, first.data, self.label))
        return f"c{sha256(text.encode(errors='surrogatepass')).hexdigest()[:10]}"

    @property
    def method(self) -> str:
        return self.records[0].method

    @property
    def search_trials(self) -> list[Record]:
        """The trials of the search: neither the base model, nor winners that were trained again, nor trials that were
        added by hand.
        """
        return [record for record in self.records if record.role == "search"]

    @cached_property
    def best(self) -> Record | None:
        """The done search trial with the best objective; for the base model, its one row."""
        if self.is_base:
            return next((record for record in self.records if record.status == "done"), None)
        return results.best(self.records)

    @cached_property
    def finalists(self) -> list[Record]:
        """The finished trials that trained the best trial's configuration again, with other seeds."""
        return [] if self.is_base or self.best is None else results.finalists_of(self.best, self.records)

    @cached_property
    def judged_trials(self) -> list[Record]:
        """The trials whose mean quality the cell is judged by: its finalists, or without any its best trial.

        The best trial is none of the finalists: it was chosen from several, so its seed's luck is part of the choice.
        """
        scored = [record for record in self.finalists if record.quality is not None]
        return scored or ([self.best] if self.best is not None and self.best.quality is not None else [])

    @cached_property
    def quality(self) -> float | None:
        """The mean over the seeds of the finalists, or without any the quality of the best trial."""
        if self.further_rows and self.estimate is not None:
            return self.estimate.quality
        qualities = [record.quality for record in self.judged_trials if record.quality is not None]
        return rounded(sum(qualities) / len(qualities)) if qualities else None

    @cached_property
    def estimate(self) -> Estimate | None:
        """The quality over seeds and test rows; ``None`` without scores by row."""
        found = row_scores.estimate(self.run, self.judged_trials, self.further_rows)
        return replace(found, untrained=True) if found is not None and self.is_base else found

    @cached_property
    def set_estimates(self) -> dict[str, Estimate]:
        """The quality on each further evaluation set, over seeds and rows, where there are scores by row."""
        names = dict.fromkeys(name for record in self.judged_trials for name in record.sets)
        found = {name: row_scores.set_estimate(self.run, self.judged_trials, name) for name in names}
        return {
            name: replace(each, untrained=True) if self.is_base else each
            for name, each in found.items()
            if each is not None
        }

    @cached_property
    def study(self) -> list[FrozenTrial]:
        """The trials of the cell's Optuna study; empty without its journal."""
        return studies.read(self.run.folder, self.name)

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The paths of the settings that differ between the search trials, such as ``method.rank``."""
        return tuple(varied([dict(leaves(record.config)) for record in self.search_trials]))

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """The paths of the settings that the search chose, also where it chose the same value in all trials.

        Without the study's journal, those that differ between the search trials.
        """
        # Of a setting with parts the parts that differ are enough, where any do.
        same = [path for path in studies.domains(self.study) if not any(within(v, path) for v in self.varied)]
        paths = dict.fromkeys(path for record in self.search_trials for path, _ in leaves(record.config))
        return tuple(
            path for path in paths if path in self.varied or any(within(path, each) for each in same)
        )

    def settings(self, record: Record) -> dict[str, Any]:
        """The values of the searched settings in one trial, by path. ``None`` is the value ``null``."""
        config = dict(leaves(record.config))
        return {path: config[path] for path in self.searched if path in config}


def collect_cells(runs: Iterable[Run]) -> list[Cell]:
    """The cells of all runs; a run that is given twice counts once."""
    unique = of_one_quality([*{run.folder.resolve(): run for run in runs}.values()])
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
