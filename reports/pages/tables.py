"""The report's tables as text, the same for ``index.html`` and for ``summary.md``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reports import units
from reports.analysis import pairs, settling
from reports.analysis.cells import Cell
from reports.analysis.comparison import trainable_share
from reports.analysis.configs import leaves
from reports.analysis.group import Group, Row
from reports.analysis.search.importance import importance
from reports.analysis.search.rate_search import expected_best_of
from reports.plots.style import status_text
from trainables.results import Record

# Measures that are shown beside a stage's own quality where they were recorded, with their units.
OTHER_MEASURES = {
    "exact_match": "fraction", "pair_accuracy": "fraction", "auc": "", "implicit_reward_accuracy": "fraction",
    "rougeL": "", "chrf": "",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Columns and rows of text. ``texts`` names the columns that hold texts; the other columns hold numbers."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    texts: frozenset[str] = frozenset()


def comparison(group: Group) -> Table:
    """One row for each cell, the best quality first, and the models before training last."""
    front_shares = group.choice.front_shares if group.choice is not None else {}
    columns: dict[str, Callable[[Row], str]] = {
        "cell": lambda row: row.display_name,
        "starts from": lambda row: "" if row.cell.is_base else row.start or "",
        units.readable(group.metric_record.quality_name if group.metric_record else None): _quality,
        **_other_measures(group),
        "seeds": lambda row: str(row.seeds) if row.seeds > 1 else units.UNKNOWN,
        "of the largest gain": lambda row: units.percent(group.share_of_gain(row)),
        "peak memory": lambda row: units.gib(row.peak),
        "of the largest peak": lambda row: units.percent(row.share_of_largest_peak),
        "on the front": lambda row: "yes" if row.on_front else "",
        "of resamples": lambda row: units.percent(front_shares.get(row.cell.label)),
        "best settings": _settings,
        "trials": lambda row: ", ".join(_counts(row.counts)),
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
    rows = [tuple(show(row) for show in columns.values()) for row in group.all_rows]
    return _without_empty(
        Table(
            tuple(columns),
            rows,
            frozenset({"cell", "starts from", "on the front", "best settings", "trials"}),
        )
    )


def cell_pairs(group: Group) -> Table:
    """The verdict on every two cells: the one of lower quality against the one of higher."""
    columns = ("cell", "against", "verdict", "difference", "95 % interval", "p (Holm)", "test", "settled by")
    rows: list[tuple[str, ...]] = []
    for row, better in pairs.ordered_pairs(group):
        verdict = group.verdict(row, better)
        figures: tuple[str, ...] = (units.UNKNOWN,) * 4
        if verdict.comparison is not None and verdict.p is not None:
            low, high = (units.difference(end, group.unit, bare=True) for end in verdict.comparison.interval)
            difference = units.difference(verdict.comparison.difference, group.unit)
            figures = (difference, f"{low} to {high}", f"{verdict.p:.2g}", verdict.comparison.basis)
        settled_by = settling.needs_text(group, row, better) if verdict.outcome == "not settled" else ""
        rows.append((row.name, better.name, _outcome(group, verdict.outcome), *figures, settled_by))
    texts = frozenset({"cell", "against", "verdict", "test", "settled by"})
    return _without_empty(Table(columns, rows, texts))


def _outcome(group: Group, outcome: str) -> str:
    margin = f", within {units.difference(group.margin, group.unit)}" if group.margin is not None else ""
    return f"{outcome}{margin}" if outcome == "as good" else outcome


def _other_measures(group: Group) -> dict[str, Callable[[Row], str]]:
    """The columns of measures other than the stage's own quality."""
    own = group.metric_record.quality_name if group.metric_record else None

    # A function, so that every lambda has a name and unit of its own instead of the loop's last ones.
    def column(name: str, unit: str) -> Callable[[Row], str]:
        return lambda row: units.quality(_metric(row, name), unit)

    return {units.readable(name): column(name, unit) for name, unit in OTHER_MEASURES.items() if name != own}


def _metric(row: Row, name: str) -> float | None:
    return row.best.metrics.get(name) if row.best else None


def _without_empty(table: Table) -> Table:
    """The table without the columns that are empty in every row."""
    kept = [
        i for i in range(len(table.columns)) if any(row[i] not in ("", units.UNKNOWN) for row in table.rows)
    ]
    rows = [tuple(row[i] for i in kept) for row in table.rows]
    return Table(tuple(table.columns[i] for i in kept), rows, table.texts)


def _value(row: Row, column: str) -> Any:
    return getattr(row.best, column) if row.best else None


def _quality(row: Row) -> str:
    return units.quality_with_interval(row.quality, row.interval, _value(row, "quality_unit"))


def _precise(value: float | None) -> str:
    return units.UNKNOWN if value is None else f"{value * 100:.3g} %"


def _settings(row: Row) -> str:
    if row.best is None or row.cell.is_base:
        return units.UNKNOWN
    return units.settings(row.settings) or "as in the spec"


def _counts(counts: dict[str, int]) -> list[str]:
    return [f"{count} {status_text(status)}" for status, count in counts.items() if count]


def unfinished(groups: Sequence[Group]) -> Table:
    """Every trial that did not run to the end, with the reason."""
    columns = ("trial", "cell", "status", "steps", "reason")
    rows: list[tuple[str, ...]] = [
        (record.trial_id, row.cell.label, status_text(record.status), _steps(record), reason(record))
        for group in groups
        for row in group.all_rows
        for record in row.cell.records
        if record.status != "done"
    ]
    return Table(columns, rows, frozenset(columns) - {"steps"})


_REASONS = {
    "stopped": "its objective was behind others at this step; it was scored as it was then",
    "out_of_memory": "there was not enough memory",
    "interrupted": "the run was interrupted; paretune run --resume finishes it",
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
    """Why a trial did not run to the end: its error, or what its status means; and where memory ran out."""
    place = _PLACES.get(record.out_of_memory_in or "", "") if record.status == "out_of_memory" else ""
    return place + ((record.error or "").strip() or _REASONS.get(record.status, ""))


def trials(group: Group) -> Table:
    """Every trial of a group, with the value of each searched setting."""
    columns: dict[str, Callable[[Cell, Record], str]] = {
        "trial": lambda _, record: record.trial_id,
        "cell": lambda cell, _: cell.label,
        "status": lambda cell, record: _status(cell, record),
        **{units.setting_name(path): _setting_column(path) for path in group.searched},
        "objective": lambda _, record: units.number(record.objective),
        "quality": lambda _, record: units.quality(record.quality, record.quality_unit),
        "peak in training": lambda _, record: units.gib(record.peak_train_bytes),
        "memory measured in trial": lambda _, record: record.memory_trial or units.UNKNOWN,
        "batch size after running out of memory": lambda _, record: units.number(record.retried_batch_size),
        "steps": lambda _, record: units.number(record.steps),
        "tokens": lambda _, record: units.number(record.tokens),
        "tokens/s": lambda _, record: units.number(record.tokens_per_second),
        "setup time": lambda _, record: units.duration(record.setup_seconds),
        "training time": lambda _, record: units.duration(record.train_seconds),
        "evaluation time": lambda _, record: units.duration(record.eval_seconds),
        "seed": lambda _, record: str(record.seed),
    }
    rows = [
        tuple(show(row.cell, record) for show in columns.values())
        for row in group.all_rows
        for record in row.cell.records
    ]
    return _without_empty(
        Table(tuple(columns), rows, frozenset({"trial", "cell", "status", "memory measured in trial"}))
    )


def _setting_column(path: str) -> Callable[[Cell, Record], str]:
    def show(cell: Cell, record: Record) -> str:
        config = dict(leaves(record.config))
        return units.setting_value(config[path]) if path in config else units.UNKNOWN

    return show


def _status(cell: Cell, record: Record) -> str:
    role = "" if record.role != "finalist" else ", trained again with another seed"
    best = cell.best is not None and record.trial_id == cell.best.trial_id and not cell.is_base
    return f"{status_text(record.status)}{role}{', the best' if best else ''}"


def _steps(record: Record) -> str:
    if record.steps is None:
        return units.UNKNOWN
    total = dict(leaves(record.config)).get("train.steps")
    return f"{record.steps} of {total}" if total else str(record.steps)


def expected_bests(group: Group) -> Table:
    """The best objective that k random draws are expected to have, by cell, where its draws say so."""
    found = [(row.name, expected_best_of(row.cell)) for row in group.rows]
    found = [(name, expected) for name, expected in found if len(expected) > 1]
    most = max((len(expected) for _, expected in found), default=0)
    rows = [
        (name, *map(units.number, expected), *[units.UNKNOWN] * (most - len(expected)))
        for name, expected in found
    ]
    return Table(
        ("cell", *(f"best of {units.count(k + 1, 'draw')}" for k in range(most))), rows, frozenset({"cell"})
    )


def importances(group: Group) -> Table:
    """The importance of each searched setting, by cell, or why it can't be computed."""
    rows: list[tuple[str, ...]] = []
    for row in group.rows:
        result = importance(row.cell)
        shares = [
            f"{units.setting_name(path)} {units.percent(share)}" for path, share in result.shares.items()
        ]
        like_noise = units.join([units.setting_name(path) for path in result.like_noise])
        rows.append(
            (
                row.name,
                result.reason or ", ".join(shares) or "none that noise would not have",
                units.percent(result.not_explained),
                like_noise or units.UNKNOWN,
                str(result.trials),
            )
        )
    columns = ("cell", "importance", "not explained", "no more than noise", "finished trials")
    return _without_empty(Table(columns, rows, frozenset({"cell", "importance", "no more than noise"})))
