"""Where searches go on from an earlier run (``search.from``): the best settings that it found for each cell's name.

They are what an earlier search has chosen, so that cells which began with more of them, or with any where others have
none, would be ahead: all cells begin with as many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeps.planning.cell import Cell
from sweeps.planning.checks.cell import CheckedDraft
from sweeps.planning.inputs import absolute_path
from sweeps.spec.problems import Problem, format_value
from trainables import results
from trainables.results import Record
from trainables.storage.url_store import StorageError
from trainables.storage.urls import is_url
from trainables.system.redaction import redacted

FROM = ("search", "from")
Settings = Mapping[str, Any]  # by leaf: {"train.learning_rate": 1e-3}


@dataclass(frozen=True)
class EarlierSearches:
    """The checked drafts, with problems of ``search.from`` and what their cells begin with; ``notes`` say it."""

    checked: tuple[CheckedDraft, ...]
    notes: tuple[str, ...] = ()


def with_earlier_searches(checked: Sequence[CheckedDraft]) -> EarlierSearches:
    """Finds what the cells of a plan begin with."""
    asking = [each for each in checked if each.cell is not None and each.cell.search.earlier_run is not None]
    if not asking:
        return EarlierSearches(tuple(checked))
    found, problems = _all_starts(asking)
    searched = [each.cell for each in checked if each.cell is not None and each.cell.space]
    alike = min((len(found.get(cell.name, ())) for cell in searched), default=0)
    if len(asking) < len([each for each in checked if each.cell is not None]):
        what = "only some cells would begin with what an earlier run found. Write it in the spec's own search"
        problems = {each.draft.name: [each.draft.problem(FROM, what)] for each in asking}
    starts = {name: tuple(each[:alike]) for name, each in found.items()}
    changed = tuple(
        replace(
            each,
            cell=replace(each.cell, starts=starts.get(each.cell.name, ())) if each.cell is not None else None,
            problems=(*each.problems, *problems.get(each.draft.name, ())),
        )
        for each in checked
    )
    names = (redacted(str(each.cell.search.earlier_run)) for each in asking if each.cell is not None)
    written = ", ".join(dict.fromkeys(names))
    note = f"the search of every cell begins with the {alike} best settings that {written} found for it (search.from)"
    return EarlierSearches(changed, (note,) if alike else ())


def _all_starts(asking: Sequence[CheckedDraft]) -> tuple[dict[str, list[Settings]], dict[str, list[Problem]]]:
    """By cell: its starts, and what is wrong with them."""
    starts: dict[str, list[Settings]] = {}
    problems: dict[str, list[Problem]] = {}
    records: dict[str, list[Record] | str] = {}
    for each in asking:
        cell = each.cell
        assert cell is not None
        given = str(cell.search.earlier_run)
        run = given if is_url(given) else str(absolute_path(given, each.draft.source.folder))
        written = redacted(given)  # a URL may have credentials
        if run not in records:
            records[run] = _read(run, written)
        read = records[run]
        if isinstance(read, str):
            problems[cell.name] = [each.draft.problem(FROM, read)]
        elif cell.space:
            starts[cell.name] = list(_starts(cell, read))[: cell.search.earlier_trials]
            if not starts[cell.name]:
                what = (
                    f"{written} has no finished trial of {cell.name} with settings that this search allows, and "
                    "all cells have to begin alike. Leave search.from out, or the cell"
                )
                problems[cell.name] = [each.draft.problem(FROM, what)]
    return starts, problems


def _read(run: str, written: str) -> list[Record] | str:
    """The records of a run, or why there are none."""
    # Only here: these import what planning doesn't need otherwise.
    from sweeps.runs.artifacts import names_run
    from sweeps.runs.reading import local_copy

    try:
        if not names_run(run):
            return (
                f"{format_value(written)} is no run: give the folder or the URL of one, such as runs/methods"
            )
        with local_copy(run) as folder:
            found = [results.read_record(trial) for trial in results.trial_folders(folder)]
    except (OSError, StorageError, ValueError) as error:
        return f"{written} can't be read: {error}"
    return [record for record in found if record is not None]


def _starts(cell: Cell, records: Sequence[Record]) -> Iterator[Settings]:
    """The settings of a cell's best finished trials, the best first, that its domains allow."""
    left = [record for record in records if record.cell == cell.name and record.role == "search"]
    while (best := results.best(left)) is not None and best.objective is not None:
        left.remove(best)
        settings = {leaf: _value_at(best.config, leaf) for leaf in cell.space}
        if all(cell.space[leaf].holds(value) for leaf, value in settings.items()):
            yield settings


def _value_at(config: Mapping[str, Any], leaf: str) -> Any:
    """The value of a setting in a trial's config; ``None`` where it has no such setting."""
    value: Any = config
    for key in leaf.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
