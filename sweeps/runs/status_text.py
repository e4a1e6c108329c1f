"""The state of a run in words, as ``paretune status`` prints it: a table of its cells, and lines below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sweeps.runs.outcomes import outcome, status_words
from sweeps.runs.status import RunState, UnfinishedTrial, all_cells, cell_summary
from trainables.results import Record
from trainables.system.byte_sizes import gib
from trainables.system.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_WAITS = 5


def table(state: RunState) -> Table:
    """One row per cell: its trials, the best, the largest peak memory, what is in training and what is unfinished."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    trials = state.training if state.holder else state.unfinished
    last = "in training" if state.holder else "unfinished"
    for heading in ("cell", "trials", "best", "peak memory", *([last] if trials else [])):
        table.add_column(heading, justify="right" if heading in ("trials", "peak memory") else "left")
    for cell in all_cells(state):
        summary = cell_summary(cell, state)
        quality = (
            f"{summary['quality_name']} {summary['quality']:.3f} " if summary["quality"] is not None else ""
        )
        best = f"{quality}({summary['best']})" if summary["best"] else "–"
        peak = gib(summary["peak_train_bytes"]) if summary["peak_train_bytes"] else "–"
        begun = "\n".join(_progress(trial, state) for trial in trials if trial.cell == cell)
        table.add_row(cell, _counts(cell, state), best, peak, *([begun] if trials else []))
    return table


def _counts(cell: str, state: RunState) -> str:
    """``3/6, 1 stopped early and not scored``."""
    records = [record for record in state.records if record.cell == cell]
    other = Counter(_ended(record) for record in records if record.status != "done" or record.role == "added")
    counted_ones = sum(record.role != "added" for record in records)
    count = f"{counted_ones}/{state.trials_of(cell)}" if state.budgets else str(len(records))
    return ", ".join([count, *(f"{number} {words}" for words, number in sorted(other.items()))])


def _ended(record: Record) -> str:
    unscored = record.status == "stopped" and record.quality is None
    words = "stopped by hand" if record.stopped_by_hand else status_words(record.status)
    ended = f"{words}{' and not scored' if unscored else ''}"
    if record.role != "added":
        return ended
    return "added by hand" if record.status == "done" else f"added by hand: {ended}"


def _progress(trial: UnfinishedTrial, state: RunState) -> str:
    added = any(trial.trial_id == addition.trial_id for addition in state.requests.additions)
    return f"{_doing(trial, state)}{', added by hand' if added else ''}"


def _doing(trial: UnfinishedTrial, state: RunState) -> str:
    if state.holder is None:
        trained = f"trained {counted(trial.step, 'step')}" if trial.step else "before its first step"
        return f"{trial.trial_id} {trained}"
    if trial.doing is not None:
        return f"{trial.trial_id} {trial.doing}"
    progress = "starting" if trial.step is None else f"step {trial.step}"
    return f"{trial.trial_id} {progress}, {trial.quiet_seconds:.0f} s ago"


def summary(state: RunState) -> str:
    """``running: process 812 on node-1, since ...; 3 of 12 trials to go``, what waits, and a line for each damaged
    trial.
    """
    process = f": {state.holder}" if state.holder else ""
    if not state.budgets:
        return "\n".join(["trials of `paretune try`, outside of any sweep", *state.damaged])
    first = [state.first_comparison["text"]] if state.first_comparison else []
    return "\n".join(
        [
            f"{state.activity}{process}; {remaining_text(state)}",
            *first,
            *state.waits[:SHOWN_WAITS],
            *_by_hand(state),
            *state.damaged,
        ]
    )


def _by_hand(state: RunState) -> Iterator[str]:
    """A line for each trial that was stopped by hand, or that is to be stopped or added."""
    for record in state.records:
        if record.stopped_by_hand:
            yield f"{record.cell} {record.trial_id}: {outcome(record)}"
    when = "at its next step" if state.holder else "once the run is resumed"
    yield from (f"{trial_id} is to be stopped by hand, {when}" for trial_id in state.requests.stops)
    begun = {trial.trial_id for trial in state.training}
    start = "once a slot is free" if state.holder else "once the run is resumed"
    for addition in state.requests.additions:
        if addition.trial_id not in begun:
            changes = ", ".join(addition.changes)
            name = f"{addition.cell} {addition.trial_id}"
            yield f"{name} was added by hand (as {addition.like}, {changes}), and is trained {start}"


def remaining_text(state: RunState) -> str:
    """``3 of 12 trials to go, and 1 added by hand``."""
    added = len(state.requests.additions)
    beside = f"{added} added by hand" if added else ""
    if not state.remaining:
        return f"{beside} to go" if added else "nothing left to do"
    to_go = f"{state.remaining} of {counted(state.total, 'trial')} to go"
    return f"{to_go}, and {beside}" if added else to_go
