"""The report's tables of cells as text, the same for ``index.html`` and for ``summary.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from reports import units
from reports.analysis import pairs, settling
from reports.analysis.cell_table import trainable_share
from reports.analysis.cells import Cell
from reports.analysis.changes import Change, gained, lost, mixture_text, mixtures_differ, steering_set
from reports.analysis.evaluation_sets import SetResults
from reports.analysis.group import Group
from reports.analysis.quality_names import quality_name
from reports.analysis.recommendation.cell_answers import cell_answers
from reports.analysis.row import Row
from reports.analysis.runs.differences import run_names
from reports.plots.style import status_text

MIXTURE = "trained on"  # a column
# Measures that are shown beside a stage's own quality where they were recorded, with their units.
OTHER_MEASURES = {
    "macro_f1": "", "accuracy": "fraction", "roc_auc": "",
    "exact_match": "fraction", "pair_accuracy": "fraction", "auc": "", "implicit_reward_accuracy": "fraction",
    "rougeL": "", "chrf": "",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Columns and rows of text. ``texts`` names the columns that hold texts; the other columns hold numbers, which in
    those of ``wide`` may stand on two lines. ``cells``: by row, the keys of the cells that it is about, if any.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    texts: frozenset[str] = frozenset()
    wide: frozenset[str] = frozenset()
    cells: tuple[tuple[str, ...], ...] = ()


def comparison(group: Group) -> Table:
    """One row for each cell, the best quality first, and the models before training last: what decides."""
    answers, names = cell_answers(group), run_names(group)
    steering = steering_set(group)
    quality = _with_unit(f"{f'{steering}: ' if steering else ''}{quality_name(group)}", group.unit)
    columns: dict[str, Callable[[Row], str]] = {
        "cell": lambda row: _cell_name(group, row, names),
        "run": lambda row: _run(row, names),
        "answer": lambda row: answers.get(row.cell.label, ""),
        quality: lambda row: _quality(group, row),
        **(sets := {set_heading(each): _set_column(each) for each in group.sets}),
        **_mixture_column(group),
        "peak memory": lambda row: units.gib(row.peak),
        "training time": lambda row: units.duration(_value(row, "train_seconds")),
        "best settings": _settings,
        "trials": lambda row: "" if row.cell.is_base else ", ".join(_counts(row)),
    }
    texts = {"cell", "run", "answer", MIXTURE, "best settings", "trials"}
    return replace(_table_of(group, columns, texts), wide=frozenset({quality, *sets}))


def set_heading(each: SetResults) -> str:
    """``general: loss (nats per token)``."""
    return _with_unit(f"{each.title}: {units.readable(each.quality_name)}", each.shown_unit)


# A function, so that every lambda has a set of its own instead of the loop's last one.
def _set_column(each: SetResults) -> Callable[[Row], str]:
    return lambda row: units.quality_with_interval(each.quality(row), each.interval(row), bare(each.unit))


def gained_and_lost(group: Group) -> Table:
    """What each cell gained on the test rows in training, and what it lost on each further evaluation set."""

    def lost_on(each: SetResults) -> Callable[[Row], str]:
        return lambda row: _change(lost(group, each, row), each.shown_unit)

    name = steering_set(group) or quality_name(group)
    columns: dict[str, Callable[[Row], str]] = {
        "cell": lambda row: row.display_name,
        **_mixture_column(group),
        _with_unit(f"gained on {name}", _points(group.unit)): lambda row: _change(
            gained(group, row), group.unit
        ),
        **{
            _with_unit(f"lost on {each.title}", _points(each.shown_unit)): lost_on(each)
            for each in group.sets
        },
    }
    rows = [tuple(show(row) for show in columns.values()) for row in group.rows]
    cells, texts = tuple(keys(row.cell) for row in group.rows), frozenset({"cell", MIXTURE})
    return without_empty(Table(tuple(columns), rows, texts, frozenset(columns) - texts, cells))


def _mixture_column(group: Group) -> dict[str, Callable[[Row], str]]:
    """The shares of the data sets that cells trained on, where these differ."""
    return {MIXTURE: mixture_text} if mixtures_differ(group) else {}


def _points(unit: str | None) -> str | None:
    return "points" if unit == "fraction" else unit


def _change(change: Change | None, unit: str | None) -> str:
    return units.UNKNOWN if change is None else change.bare_text(unit)


def quality_details(group: Group) -> Table:
    """What else is known of each cell's quality."""
    front_shares = group.choice.front_shares if group.choice is not None else {}
    columns: dict[str, Callable[[Row], str]] = {
        "cell": lambda row: row.display_name,
        "starts from": lambda row: "" if row.cell.is_base else row.start or "",
        **_other_measures(group),
        "seeds": lambda row: str(row.seeds) if row.seeds > 1 else units.UNKNOWN,
        "of the largest gain": lambda row: units.percent(group.share_of_gain(row)),
        "on the front": lambda row: "yes" if row.on_front else "",
        "of resamples": lambda row: units.percent(front_shares.get(row.cell.label)),
    }
    return _table_of(group, columns, {"cell", "starts from", "on the front"})


def cost_details(group: Group) -> Table:
    """What else is known of each cell's memory and speed."""
    columns: dict[str, Callable[[Row], str]] = {
        "cell": lambda row: row.display_name,
        "of the largest peak": lambda row: units.percent(row.share_of_largest_peak),
        "peak in loading": lambda row: units.gib(_value(row, "peak_load_bytes")),
        "peak in training": lambda row: units.gib(_value(row, "peak_train_bytes")),
        "peak in evaluation": lambda row: units.gib(_value(row, "peak_eval_bytes")),
        "reserved by the allocator": lambda row: units.gib(_value(row, "reserved_bytes")),
        "predicted peak": lambda row: units.gib(_value(row, "predicted_peak_bytes")),
        "baseline": lambda row: units.gib(_value(row, "baseline_bytes")),
        "trainable": lambda row: _precise(trainable_share(row.best)),
        "tokens/s": lambda row: units.number(_value(row, "tokens_per_second")),
        "saved model": lambda row: units.size(_value(row, "artifact_bytes")),
    }
    return _table_of(group, columns, {"cell"})


def _table_of(group: Group, columns: dict[str, Callable[[Row], str]], texts: set[str]) -> Table:
    rows = [tuple(show(row) for show in columns.values()) for row in group.all_rows]
    cells = tuple(keys(row.cell) for row in group.all_rows)
    return without_empty(Table(tuple(columns), rows, frozenset(texts), cells=cells))


def keys(cell: Cell) -> tuple[str, ...]:
    """The key of a cell that can be hidden: not of models before training."""
    return () if cell.is_base else (cell.key,)


def _cell_name(group: Group, row: Row, names: dict[str, str]) -> str:
    """The cell's name, without that of its run where a column has that: its method, unless another cell has it."""
    if len(names) == 1 or row.cell.is_base:
        return row.display_name
    same = [other for other in group.rows if other.cell.run.folder == row.cell.run.folder]
    alone = sum(other.cell.method == row.cell.method for other in same) == 1
    return row.cell.method if alone else row.cell.name


def _run(row: Row, names: dict[str, str]) -> str:
    """The run of a cell where there are several; of what all of them started from, none."""
    shared = row.cell.is_base and row.test_rows_of is None
    return "" if len(names) == 1 or shared else names[str(row.cell.run.folder)]


def _with_unit(name: str, unit: str | None) -> str:
    """``loss (nats per token)``; percent stand beside the numbers themselves."""
    return name if unit in (None, "", "fraction") or unit == name else f"{name} ({unit})"


def cell_pairs(group: Group) -> Table:
    """The verdict on every two cells: the one of lower quality against the one of higher."""
    difference_column = "difference" if group.unit == "fraction" else _with_unit("difference", group.unit)
    columns = (
        "cell",
        "against",
        "verdict",
        difference_column,
        "95 % interval",
        "p (Holm)",
        "test",
        "settled by",
    )
    rows: list[tuple[str, ...]] = []
    cells = []
    for row, better in pairs.ordered_pairs(group):
        verdict = group.verdict(row, better)
        figures: tuple[str, ...] = (units.UNKNOWN,) * 4
        if verdict.comparison is not None and verdict.p is not None:
            low, high = (units.difference(end, group.unit, bare=True) for end in verdict.comparison.interval)
            bare = group.unit != "fraction"
            difference = units.difference(verdict.comparison.difference, group.unit, bare=bare)
            figures = (difference, f"{low} to {high}", f"{verdict.p:.2g}", verdict.comparison.basis)
        settled_by = settling.needs_text(group, row, better) if verdict.outcome == "not settled" else ""
        rows.append((row.name, better.name, _outcome(group, verdict.outcome), *figures, settled_by))
        cells.append(keys(row.cell) + keys(better.cell))
    texts = frozenset({"cell", "against", "verdict", "test", "settled by"})
    return without_empty(Table(columns, rows, texts, cells=tuple(cells)))


def _outcome(group: Group, outcome: str) -> str:
    bare = group.unit != "fraction"
    margin = (
        f", within {units.difference(group.margin, group.unit, bare=bare)}"
        if group.margin is not None
        else ""
    )
    return f"{outcome}{margin}" if outcome == "as good" else outcome


def _other_measures(group: Group) -> dict[str, Callable[[Row], str]]:
    """The columns of measures other than the stage's own quality."""
    own = group.metric_record.quality_name if group.metric_record else None
    # Of written labels exact match is accuracy: one of them is shown.
    same = "accuracy" if own == "exact_match" else "exact_match"
    left_out = {own, same if any(_metric(row, "accuracy") is not None for row in group.rows) else None}

    # A function, so that every lambda has a name and unit of its own instead of the loop's last ones.
    def column(name: str, unit: str) -> Callable[[Row], str]:
        return lambda row: units.quality(_metric(row, name), unit)

    return {
        units.readable(name): column(name, unit)
        for name, unit in OTHER_MEASURES.items()
        if name not in left_out
    }


def has_other_measures(table: Table) -> bool:
    """Whether a table has a column of a measure other than the stage's own quality."""
    return any(units.readable(name) in table.columns for name in OTHER_MEASURES)


def _metric(row: Row, name: str) -> float | None:
    return row.best.metrics.get(name) if row.best else None


def without_empty(table: Table) -> Table:
    """The table without the columns that are empty in every row."""
    kept = [
        i for i in range(len(table.columns)) if any(row[i] not in ("", units.UNKNOWN) for row in table.rows)
    ]
    rows = [tuple(row[i] for i in kept) for row in table.rows]
    return replace(table, columns=tuple(table.columns[i] for i in kept), rows=rows)


def _value(row: Row, column: str) -> Any:
    return getattr(row.best, column) if row.best else None


def _quality(group: Group, row: Row) -> str:
    return units.quality_with_interval(row.quality, group.interval(row), bare(_value(row, "quality_unit")))


def bare(unit: str | None) -> str | None:
    """The unit that stands beside numbers, where the column's head has any other."""
    return unit if unit == "fraction" else None


def _precise(value: float | None) -> str:
    return units.UNKNOWN if value is None else f"{value * 100:.3g} %"


def _settings(row: Row) -> str:
    if row.best is None or row.cell.is_base:
        return units.UNKNOWN
    return units.settings(row.settings) or "as in the spec"


def _counts(row: Row) -> list[str]:
    roles = Counter(record.role for record in row.cell.records)
    finalists, added = roles["finalist"], roles["added"]
    ended = [f"{count} {status_text(status)}" for status, count in row.counts.items() if count]
    ended += [units.count(finalists, "finalist")] if finalists else []
    return [*ended, *([f"{added} added by hand"] if added else [])]
