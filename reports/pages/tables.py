"""The report's tables as printed text, the same for the page and for ``summary.md``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reports import units
from reports.analysis.cells import Cell, leaves
from reports.analysis.comparison import trainable_share
from reports.analysis.group import Group, Row
from reports.analysis.importance import importance
from reports.plots.style import status_words
from trainables.results import Record

# What is shown beside a stage's own quality where it was measured, with its unit.
BESIDE = {"exact_match": "fraction", "rougeL": "", "chrf": ""}


@dataclass(frozen=True)
class Table:
    """Columns and rows of text. ``texts`` are the columns that hold words; the rest hold numbers."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    texts: frozenset[str] = frozenset()


def comparison(group: Group) -> Table:
    """One row a cell, the best quality first, and the untuned model last."""
    columns: dict[str, Callable[[Row], str]] = {
        "cell": lambda row: row.told,
        "goes on from": lambda row: "" if row.cell.is_base else row.start or "",
        units.words(group.scored.quality_name if group.scored else None): _quality,
        **_also(group),
        "of the best": lambda row: units.share(row.share_of_best_quality),
        "peak, training": lambda row: units.gib(row.peak),
        "of the largest": lambda row: units.share(row.share_of_largest_peak),
        "on the front": lambda row: "yes" if row.on_front else "",
        "best settings": _settings,
        "trials": lambda row: ", ".join(_counts(row.counts)),
        "peak, loading": lambda row: units.gib(_of(row, "peak_load_bytes")),
        "peak, evaluating": lambda row: units.gib(_of(row, "peak_eval_bytes")),
        "predicted peak": lambda row: units.gib(_of(row, "predicted_peak_bytes")),
        "baseline": lambda row: units.gib(_of(row, "baseline_bytes")),
        "trainable": lambda row: _precise(trainable_share(row.best)),
        "tokens/s": lambda row: units.number(_of(row, "tokens_per_second")),
        "artifact": lambda row: units.size(_of(row, "artifact_bytes")),
    }
    rows = [tuple(show(row) for show in columns.values()) for row in group.all_rows]
    return _without_empty(
        Table(
            tuple(columns),
            rows,
            frozenset({"cell", "goes on from", "on the front", "best settings", "trials"}),
        )
    )


def _also(group: Group) -> dict[str, Callable[[Row], str]]:
    """Other measures of answers beside a stage's own quality."""
    own = group.scored.quality_name if group.scored else None

    def column(name: str, unit: str) -> Callable[[Row], str]:
        return lambda row: units.quality(_metric(row, name), unit)

    return {units.words(name): column(name, unit) for name, unit in BESIDE.items() if name != own}


def _metric(row: Row, name: str) -> float | None:
    return row.best.metrics.get(name) if row.best else None


def _without_empty(table: Table) -> Table:
    """Leaves out the columns in which nothing was measured at all."""
    kept = [
        i for i in range(len(table.columns)) if any(row[i] not in ("", units.UNKNOWN) for row in table.rows)
    ]
    rows = [tuple(row[i] for i in kept) for row in table.rows]
    return Table(tuple(table.columns[i] for i in kept), rows, table.texts)


def _of(row: Row, column: str) -> Any:
    return getattr(row.best, column) if row.best else None


def _quality(row: Row) -> str:
    text = units.quality(row.quality, _of(row, "quality_unit"))
    if row.interval is None:
        return text
    percent = _of(row, "quality_unit") == "fraction"
    low, high = (f"{bound * 100:.1f}" if percent else f"{bound:.4g}" for bound in row.interval)
    return f"{text} ({low} to {high})"


def _precise(value: float | None) -> str:
    return units.UNKNOWN if value is None else f"{value * 100:.3g} %"


def _settings(row: Row) -> str:
    if row.best is None or row.cell.is_base:
        return units.UNKNOWN
    return units.settings(row.settings) or "as in the spec"


def _counts(counts: dict[str, int]) -> list[str]:
    return [f"{count} {status_words(status)}" for status, count in counts.items() if count]


def unfinished(groups: Sequence[Group]) -> Table:
    """Every trial that is not done, with its reason."""
    columns = ("trial", "cell", "status", "steps", "reason")
    rows: list[tuple[str, ...]] = [
        (record.trial_id, row.cell.label, status_words(record.status), _steps(record), reason(record))
        for group in groups
        for row in group.all_rows
        for record in row.cell.records
        if record.status != "done"
    ]
    return Table(columns, rows, frozenset(columns) - {"steps"})


_REASONS = {
    "stopped": "its objective was behind at this step; scored where it stopped",
    "out_of_memory": "the memory did not suffice",
    "interrupted": "the run was interrupted; --resume finishes it",
    "failed": "no reason was recorded",
}


_PLACES = {
    "load": "while loading: ",
    "forward": "in the forward pass: ",
    "backward": "in the backward pass: ",
    "step": "in the optimizer's step: ",
    "eval": "while evaluating: ",
}


def reason(record: Record) -> str:
    """Why a trial is not done: its error, or what its status says; of memory, where it ran out."""
    place = _PLACES.get(record.out_of_memory_in or "", "") if record.status == "out_of_memory" else ""
    return place + ((record.error or "").strip() or _REASONS.get(record.status, ""))


def trials(group: Group) -> Table:
    """Every trial of a group, with the value of each setting that was searched."""
    columns: dict[str, Callable[[Cell, Record], str]] = {
        "trial": lambda _, record: record.trial_id,
        "cell": lambda cell, _: cell.label,
        "status": lambda cell, record: _status(cell, record),
        **{units.leaf(path): _leaf(path) for path in group.searched},
        "objective": lambda _, record: units.number(record.objective),
        "quality": lambda _, record: units.quality(record.quality, record.quality_unit),
        "peak, training": lambda _, record: units.gib(record.peak_train_bytes),
        "memory measured in": lambda _, record: record.memory_trial or units.UNKNOWN,
        "after memory ran out, rows at a time": lambda _, record: units.number(record.retried_batch_size),
        "steps": lambda _, record: units.number(record.steps),
        "tokens": lambda _, record: units.number(record.tokens),
        "tokens/s": lambda _, record: units.number(record.tokens_per_second),
        "setup": lambda _, record: units.duration(record.setup_seconds),
        "training": lambda _, record: units.duration(record.train_seconds),
        "evaluating": lambda _, record: units.duration(record.eval_seconds),
        "seed": lambda _, record: str(record.seed),
    }
    rows = [
        tuple(show(row.cell, record) for show in columns.values())
        for row in group.all_rows
        for record in row.cell.records
    ]
    return _without_empty(
        Table(tuple(columns), rows, frozenset({"trial", "cell", "status", "memory measured in"}))
    )


def _leaf(path: str) -> Callable[[Cell, Record], str]:
    def show(cell: Cell, record: Record) -> str:
        value = dict(leaves(record.config)).get(path)
        return units.UNKNOWN if value is None else units.setting(value)

    return show


def _status(cell: Cell, record: Record) -> str:
    role = "" if record.role != "finalist" else ", trained again"
    best = cell.best is not None and record.trial_id == cell.best.trial_id and not cell.is_base
    return f"{status_words(record.status)}{role}{', the best' if best else ''}"


def _steps(record: Record) -> str:
    if record.steps is None:
        return units.UNKNOWN
    total = dict(leaves(record.config)).get("train.steps")
    return f"{record.steps} of {total}" if total else str(record.steps)


def importances(group: Group) -> Table:
    """The share of the objective's variance that each setting explains, by cell, or why there is none."""
    rows: list[tuple[str, ...]] = []
    for row in group.rows:
        found = importance(row.cell)
        told = found.reason or ", ".join(
            f"{units.leaf(path)} {units.share(s)}" for path, s in found.shares.items()
        )
        rows.append((row.name, told, str(found.trials)))
    return Table(("cell", "importance", "finished trials"), rows, frozenset({"cell", "importance"}))
