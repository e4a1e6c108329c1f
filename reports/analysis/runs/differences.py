"""In what several runs differ that a comparison of methods should hold equal: steps, batch, seed, rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from reports import units
from reports.analysis.configs import leaves, optimizer_name
from reports.analysis.group import Group
from reports.text import joined, text
from trainables.results import Record


def difference_sentence(group: Group) -> str | None:
    """``The runs differ: monday has 20 steps and seed 0, tuesday 60 steps and seed 3. ...``; ``None`` where they don't,
    and for a single run.
    """
    by_run = _searched_by_run(group)
    found = [values for said, value in _EQUAL if (values := _values(said, value, by_run))]
    rows = len({tuple(_distinct(_rows, records)) for records in by_run.values()} - {()}) > 1
    if len(by_run) < 2 or not (found or rows):
        return None
    each = [
        text("{run} has {values}", run=run, values=units.join(having))
        for run in by_run
        if (having := [v[run] for v in found if run in v])
    ]
    others = [text("they trained on other rows")] if rows else []
    return text(
        "The runs differ in more than their methods: {differences}. Cells of different runs may differ because of "
        "that.",
        differences=joined("; ", [*each, *others]),
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
    if steps:
        return units.count(steps, "step")
    return text("{count} epochs", count=units.number(epochs)) if epochs else None


def _batch(record: Record) -> int | None:
    """Rows of one update."""
    settings = dict(leaves(record.config))
    size = settings.get("train.batch_size")
    return None if size is None else size * (settings.get("train.gradient_accumulation") or 1)


def _rows(record: Record) -> str | None:
    return record.data_sha256


# What should be equal in all runs: how it is said, and where a record has it.
_EQUAL: tuple[tuple[Callable[[str], str], Callable[[Record], Any]], ...] = (
    (lambda value: value, _length),
    (lambda value: text("batches of {value}", value=value), _batch),
    (lambda value: text("cutoff {value}", value=value), _setting("data.cutoff")),
    (lambda value: text("precision {value}", value=value), _setting("train.precision")),
    (
        lambda value: text("optimizer {value}", value=value),
        lambda record: optimizer_name(dict(leaves(record.config))),
    ),
    (lambda value: text("seed {value}", value=value), lambda record: record.seed),
)


def _values(
    said: Callable[[str], str], value: Callable[[Record], Any], by_run: dict[str, list[Record]]
) -> dict[str, str]:
    """What each run has, in words; empty where all have the same. A run that says nothing of it is no difference."""
    known = {run: found for run, records in by_run.items() if (found := _distinct(value, records))}
    if len(set(map(tuple, known.values()))) < 2:
        return {}
    return {run: said(joined(" or ", found)) for run, found in known.items()}


def _distinct(value: Callable[[Record], Any], records: list[Record]) -> list[str]:
    known = [found for record in records if (found := value(record)) is not None]
    return sorted({each if isinstance(each, str) else str(each) for each in known})
