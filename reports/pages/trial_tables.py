"""The report's tables of trials: all of them, those that did not run to the end, and what the search shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reports import units
from reports.analysis.cells import Cell
from reports.analysis.changes import shares_text
from reports.analysis.configs import leaves
from reports.analysis.evaluation_sets import SetResults
from reports.analysis.group import Group
from reports.analysis.quality_names import ObjectiveScale, objective_scale, quality_name
from reports.analysis.runs.progress import progress
from reports.analysis.search.importance import importance
from reports.analysis.search.rate_search import expected_best_of
from reports.pages.tables import Table, bare, keys, set_heading, without_empty
from reports.plots.style import ending_text, role_text, steps_text
from trainables.results import Record

Show = Callable[[Cell, Record], str]
MOST_SETTINGS = 4  # with a column each, for which a page of 1280 pixels has room


def unfinished(groups: Sequence[Group]) -> Table:
    """Every trial that did not run to the end, with the reason."""
    columns = ("trial", "cell", "status", "steps", "reason")
    ended = [
        (row.cell, record)
        for group in groups
        for row in group.all_rows
        for record in row.cell.records
        if record.status != "done" or record.ended_early
    ]
    rows: list[tuple[str, ...]] = [
        (
            record.trial_id,
            cell.label,
            f"{ending_text(record)}{role_text(record)}",
            steps_text(record) or units.UNKNOWN,
            _reason(cell, record),
        )
        for cell, record in ended
    ]
    cells = tuple(keys(cell) for cell, _ in ended)
    return Table(columns, rows, frozenset(columns) - {"steps"}, cells=cells)


def _reason(cell: Cell, record: Record) -> str:
    unfinished = progress(cell.run) if record.status == "interrupted" and not record.error else None
    if unfinished is None or unfinished.command is None:
        return reason(record)
    return f"the run was interrupted; {unfinished.command} finishes it"


_REASONS = {
    "stopped": "its objective was behind others at this step",
    "out_of_memory": "there was not enough memory",
    "interrupted": "the run was interrupted; paretune run --resume finishes it",
    "failed": "no reason was recorded",
}


_BY_LOSS = "its training loss was behind that of others at this step"

_PLACES = {
    "load": "while loading: ",
    "forward": "in the forward pass: ",
    "backward": "in the backward pass: ",
    "step": "in the optimizer's step: ",
    "eval": "while evaluating: ",
}


def reason(record: Record) -> str:
    """Why a trial did not run to the end: its error, why it was stopped, or what its status means. And where memory ran
    out, and what is not known of a trial that was stopped.
    """
    place = _PLACES.get(record.out_of_memory_in or "", "") if record.status == "out_of_memory" else ""
    by_loss = record.status == "stopped" and record.compared_by == "training"
    usual = _BY_LOSS if by_loss else _REASONS.get(record.status, "")
    why = (record.error or record.stop_reason or "").strip() or usual
    return place + why + (f"; {_not_known(record)}" if record.status == "stopped" else "")


def _not_known(record: Record) -> str:
    if record.quality is not None:
        return "it was scored as it was then"
    memory = ", and its memory is predicted, not measured" if record.memory_source == "predicted" else ""
    return f"it was not scored on the test rows{memory}"


def trials(group: Group) -> Table:
    """Every trial of a group: what became of it, its settings, quality, memory and time."""
    scale, unit = objective_scale(group), bare(group.unit)
    return _table_of_trials(
        group,
        {
            "status": lambda cell, record: _status(cell, record),
            **_setting_columns(group),
            f"validation {scale.name}": lambda _, record: _objective(scale, record),
            f"test {quality_name(group)}": lambda _, record: units.quality(record.quality, unit),
            **_mixture_columns(group),
            "peak in training": lambda _, record: units.gib(record.peak_train_bytes),
            "training time": lambda _, record: units.duration(record.train_seconds),
        },
    )


def _mixture_columns(group: Group) -> dict[str, Show]:
    """What each trial trained on in which shares, and what it scored on each further evaluation set, where trials of a
    cell differ in these shares.
    """
    mixtures = ({shares_text(record.mixture) for record in row.cell.records} - {""} for row in group.all_rows)
    if all(len(texts) < 2 for texts in mixtures):
        return {}
    return {
        "trained on": lambda _, record: shares_text(record.mixture),
        **{set_heading(each): _set_column(each) for each in group.sets},
    }


# A function, so that every lambda has a set of its own instead of the loop's last one.
def _set_column(each: SetResults) -> Show:
    def show(_: Cell, record: Record) -> str:
        scored = record.sets.get(each.name)
        same = scored is not None and (scored.sha256, scored.rows) == (each.sha256, each.rows)
        return units.quality(scored.quality if scored is not None and same else None, bare(each.unit))

    return show


def trial_work(group: Group) -> Table:
    """What else is known of every trial of a group: its work, its other times, and where its memory was measured."""
    records = [record for row in group.all_rows for record in row.cell.records]
    seeds = {record.seed for record in records}
    keeps = any(record.kept_step not in (None, record.steps) for record in records)
    kept = {"step of the kept weights": lambda _, record: units.number(record.kept_step)} if keeps else {}
    return _table_of_trials(
        group,
        {
            "steps": lambda _, record: units.number(record.steps),
            **kept,
            "tokens": lambda _, record: units.number(record.tokens),
            "tokens/s": lambda _, record: units.number(record.tokens_per_second),
            "setup time": lambda _, record: units.duration(record.setup_seconds),
            "evaluation time": lambda _, record: units.duration(record.eval_seconds),
            "predicted peak": lambda _, record: units.gib(record.predicted_peak_bytes),
            "memory measured in trial": lambda _, record: record.memory_trial or units.UNKNOWN,
            "batch size after running out of memory": lambda _, record: units.number(
                record.retried_batch_size
            ),
            **({"seed": lambda _, record: str(record.seed)} if len(seeds) > 1 else {}),
        },
    )


def _table_of_trials(group: Group, columns: Mapping[str, Show]) -> Table:
    """The trials of a group with their ids and cells, then these columns."""
    shown = {"trial": lambda _, record: record.trial_id, "cell": lambda cell, _: cell.label, **columns}
    trials = [(row.cell, record) for row in group.all_rows for record in row.cell.records]
    rows = [tuple(show(cell, record) for show in shown.values()) for cell, record in trials]
    texts = frozenset({"trial", "cell", "status", "settings", "memory measured in trial"})
    return without_empty(Table(tuple(shown), rows, texts, cells=tuple(keys(cell) for cell, _ in trials)))


def _setting_columns(group: Group) -> dict[str, Show]:
    """A column for each searched setting, or one for all where these are many."""
    if len(group.searched) > MOST_SETTINGS:
        return {
            "settings": lambda cell, record: "" if cell.is_base else units.settings(cell.settings(record))
        }
    return {units.setting_name(path): _setting_column(path) for path in group.searched}


def _objective(scale: ObjectiveScale, record: Record) -> str:
    if record.objective is None:
        return units.UNKNOWN
    return units.quality(scale.shown(record.objective), bare(scale.unit))


def _setting_column(path: str) -> Show:
    def show(cell: Cell, record: Record) -> str:
        # What was not trained has the settings of its config only by default.
        config = {} if cell.is_base else dict(leaves(record.config))
        return units.setting_value(config[path]) if path in config else units.UNKNOWN

    return show


def _status(cell: Cell, record: Record) -> str:
    best = cell.best is not None and record.trial_id == cell.best.trial_id and not cell.is_base
    return f"{ending_text(record)}{role_text(record)}{', the best' if best else ''}"


def expected_bests(group: Group) -> Table:
    """The best objective that k random draws are expected to have, by cell, where its draws say so."""
    scale = objective_scale(group)
    found = [(row, [scale.shown(value) for value in expected_best_of(row.cell)]) for row in group.rows]
    found = [(row, expected) for row, expected in found if len(expected) > 1]
    most = max((len(expected) for _, expected in found), default=0)
    rows = [
        (row.name, *map(units.number, expected), *[units.UNKNOWN] * (most - len(expected)))
        for row, expected in found
    ]
    columns = ("cell", *(f"best of {units.count(k + 1, 'draw')}" for k in range(most)))
    return Table(columns, rows, frozenset({"cell"}), cells=tuple(keys(row.cell) for row, _ in found))


def importances(group: Group) -> Table:
    """The importance of each searched setting, by cell, where it can be computed."""
    rows: list[tuple[str, ...]] = []
    cells = []
    for row in group.rows:
        result = importance(row.cell)
        if result.reason is not None:
            continue
        cells.append(keys(row.cell))
        shares = [
            f"{units.setting_name(path)} {units.percent(share)}" for path, share in result.shares.items()
        ]
        like_noise = units.join([units.setting_name(path) for path in result.like_noise])
        rows.append(
            (
                row.name,
                ", ".join(shares) or "as noise would have",
                units.percent(result.not_explained),
                like_noise or units.UNKNOWN,
                "the best quarter of all" if result.ranked else "finished trials",
                str(result.trials),
            )
        )
    columns = ("cell", "importance", "not explained", "like noise", "within", "trials")
    texts = frozenset({"cell", "importance", "like noise", "within"})
    return without_empty(Table(columns, rows, texts, cells=tuple(cells)))


def without_importance(group: Group) -> str:
    """The cells whose searched settings' importance can't be computed, and why; empty where there are none."""
    found: dict[str, list[str]] = {}
    for row in group.rows:
        if row.cell.searched and (reason := importance(row.cell).reason) is not None:
            found.setdefault(reason, []).append(row.name)
    reasons = "; ".join(f"of {units.join(names)}: {reason}" for reason, names in found.items())
    return f"No importance of settings {reasons}." if reasons else ""
