"""In what several runs differ that a comparison of methods should hold equal: steps, batch, seed, rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from reports import units
from reports.analysis.configs import leaves, optimizer_name
from reports.analysis.group import Group
from trainables.results import Record


def difference_sentence(group: Group) -> str | None:
    """``The runs differ: monday has 20 steps and seed 0, tuesday 60 steps and seed 3. ...``; ``None`` where they don't,
    and for a single run.
    """
    by_run = _searched_by_run(group)
    found = [values for name, value in _EQUAL.items() if (values := _values(name, value, by_run))]
    rows = len({tuple(_distinct(_rows, records)) for records in by_run.values()} - {()}) > 1
    if len(by_run) < 2 or not (found or rows):
        return None
    each = [
        f"{run} has {units.join(having)}" for run in by_run if (having := [v[run] for v in found if run in v])
    ]
    return (
        f"The runs differ in more than their methods: {'; '.join([*each, *(['they trained on other rows'] * rows)])}. "
        "Cells of different runs may differ because of that."
    )


def run_names(group: Group) -> dict[str, str]:
    """The name of each run of a group's cells by its folder: the folder's own name, where no two have that."""
    folders = dict.fromkeys(row.cell.run.folder for row in group.all_rows)
    names = Counter(folder.name for folder in folders)
    return {str(folder): folder.name if names[folder.name] == 1 else str(folder) for folder in folders}


def _searched_by_run(group: Group) -> dict[str, list[Record]]:
    names = run_names(group)
    by_run: dict[str, list[Record]] = {name: [] for name in sorted(names.values())}
    for row in group.rows:
        by_run[names[str(row.cell.run.folder)]].extend(row.cell.search_trials)
    return by_run


def _setting(path: str) -> Callable[[Record], Any]:
    return lambda record: dict(leaves(record.config)).get(path)


def _length(record: Record) -> str | None:
    settings = dict(leaves(record.config))
    steps, epochs = settings.get("train.steps"), settings.get("train.epochs")
    return units.count(steps, "step") if steps else f"{units.number(epochs)} epochs" if epochs else None


def _batch(record: Record) -> int | None:
    """Rows of one update."""
    settings = dict(leaves(record.config))
    size = settings.get("train.batch_size")
    return None if size is None else size * (settings.get("train.gradient_accumulation") or 1)


def _rows(record: Record) -> str | None:
    return record.data_sha256


# What should be equal in all runs, by the words before it, with where a record has it.
_EQUAL: dict[str, Callable[[Record], Any]] = {
    "": _length,
    "batches of ": _batch,
    "cutoff ": _setting("data.cutoff"),
    "precision ": _setting("train.precision"),
    "optimizer ": lambda record: optimizer_name(dict(leaves(record.config))),
    "seed ": lambda record: record.seed,
}


def _values(label: str, value: Callable[[Record], Any], by_run: dict[str, list[Record]]) -> dict[str, str]:
    """What each run has, in words; empty where all have the same. A run that says nothing of it is no difference."""
    known = {run: found for run, records in by_run.items() if (found := _distinct(value, records))}
    if len(set(map(tuple, known.values()))) < 2:
        return {}
    return {run: f"{label}{' or '.join(found)}" for run, found in known.items()}


def _distinct(value: Callable[[Record], Any], records: list[Record]) -> list[str]:
    return sorted({str(found) for record in records if (found := value(record)) is not None})
