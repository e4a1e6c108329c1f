"""What a run is doing, read from its folder alone, on any machine that has it and whether or not its driver lives."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.runs import lock
from sweeps.runs.layout import LOCK, SIGNS, read_environment
from sweeps.runs.outcomes import status_words
from trainables import results
from trainables.results import Record, best, expected_trials
from trainables.storage.damaged_files import DamagedFile, read_object, reading
from trainables.system.byte_sizes import gib
from trainables.system.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_WAITS = 5


class NoRun(ValueError):  # noqa: N818
    """A folder is no run, or a run doesn't have the trial; the message says what there is."""


@dataclass(frozen=True)
class UnfinishedTrial:
    """A trial without a final record: its last step, and the seconds since it last wrote something.

    ``doing``: what its driver says that it is doing; ``None`` where no driver lives or it says nothing of this trial.
    """

    trial_id: str
    cell: str
    step: int | None
    quiet_seconds: float
    doing: str | None = None


@dataclass(frozen=True)
class RunState:
    """The state of a run, as ``paretune status`` prints it.

    ``holder`` names the process that runs it; ``None`` while none does. ``budgets``: search trials by cell; none for
    the folder of ``paretune try``. ``unfinished``: trials that have begun and have no final record. ``waits``: what
    trials wait for that could run, a sentence each.
    ``finalists``: how many times each of how many best configs of a cell are trained again, ``{"seeds": 3, "top": 1}``;
    empty for runs that have none. ``first_comparison``: how the cells compared at their first rung. ``damaged``: a
    sentence for each trial that has a file which can't be read.
    """

    run: str
    holder: str | None
    budgets: dict[str, int]
    records: tuple[Record, ...]
    unfinished: tuple[UnfinishedTrial, ...]
    finalists: dict[str, int] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    first_comparison: dict[str, Any] | None = None

    @property
    def training(self) -> tuple[UnfinishedTrial, ...]:
        """The trials that a driver has in training: none where no driver lives."""
        if self.holder is None:
            return ()
        # A driver of an earlier version, or of a run at a URL, says nothing of its trials.
        said = [trial for trial in self.unfinished if trial.doing is not None]
        return tuple(said) or self.unfinished

    @property
    def remaining(self) -> int:
        """How many trials of the search, and finalists, have no final record yet."""
        # Base models are not counted.
        ended = sum(record.role != "base" for record in self.records)
        return max(0, self.total - ended)

    @property
    def total(self) -> int:
        """All trials of the search, and the finalists of its cells, as far as these are known; no untrained models."""
        return sum(map(self.trials_of, self.budgets))

    def trials_of(self, cell: str) -> int:
        """The trials of a cell's search and its finalists; 1 for a base model, which has no budget."""
        if cell not in self.budgets:
            return 1
        ended = [record for record in self.records if record.cell == cell]
        return expected_trials(ended, self.budgets[cell], self.finalists)

    @property
    def activity(self) -> str:
        """``running``, ``finished``, or ``stopped`` with trials left to run."""
        if self.holder:
            return "running"
        return "stopped" if self.remaining or self.unfinished else "finished"

    def to_json(self) -> dict[str, Any]:
        """What ``paretune status --json`` prints."""
        return {
            "run": self.run,
            "state": self.activity,
            "holder": self.holder,
            "cells": [{"cell": cell, **_cell_summary(cell, self)} for cell in _cells(self)],
            "training": [vars(trial) for trial in self.training],
            "unfinished": [vars(trial) for trial in self.unfinished],
            "waits": list(self.waits),
            "first_comparison": self.first_comparison,
            "damaged": list(self.damaged),
        }


def run_state(
    run: Path, display_name: str | None = None, holder: Callable[[], str | None] | None = None
) -> RunState:
    """The state of the run in a folder. Raises :class:`NoRun`.

    ``display_name``: the run's name in messages, if not the folder's path. ``holder`` returns the process that runs it,
    if the folder's lock doesn't name it.
    """
    display_name = display_name or str(run)
    environment = read_environment(run)
    folders = results.trial_folders(run)
    if environment is None and not folders:
        raise NoRun(f"{display_name}: no environment.json here; is it a run folder (runs/NAME)?")
    begun = (environment or {}).get("plan", {})
    budgets, finalists = begun.get("trials", {}), begun.get("finalists", {})
    process = holder() if holder else lock.holder(run)
    signs = _signs(run) if process else Signs()
    ended, unfinished, damaged = list[Record](), list[UnfinishedTrial](), list[str]()
    for trial in folders:
        try:
            record = results.read_record(trial)
            # An interrupted trial has a record but no result. It counts as unfinished, because it will be resumed.
            if record is not None and record.status != "interrupted":
                ended.append(record)
            else:
                unfinished.append(_unfinished(trial, signs.trials.get(trial.name)))
        except DamagedFile as error:
            damaged.append(str(error))
    return RunState(
        display_name,
        process,
        budgets,
        tuple(ended),
        tuple(unfinished),
        finalists,
        tuple(damaged),
        signs.waits,
        (environment or {}).get("first_comparison"),
    )


@dataclass(frozen=True)
class Signs:
    """What the driver that holds a run says: what each trial is doing, and what others wait for."""

    trials: dict[str, str] = field(default_factory=dict)
    waits: tuple[str, ...] = ()


def _signs(run: Path) -> Signs:
    """Empty where the driver has said nothing yet, or the file is damaged."""
    path = run / SIGNS
    # Written anew by each driver, some seconds after it has taken the lock; either may be gone again.
    with suppress(OSError, DamagedFile):
        if path.exists() and path.stat().st_mtime >= (run / LOCK).stat().st_mtime:
            said = read_object(path)
            trials, waits = said.get("trials"), said.get("waits")
            doing = trials.items() if isinstance(trials, dict) else ()
            return Signs(
                {trial: words for trial, words in doing if isinstance(words, str)},
                tuple(each for each in waits if isinstance(each, str)) if isinstance(waits, list) else (),
            )
    return Signs()


def _unfinished(folder: Path, doing: str | None) -> UnfinishedTrial:
    config, curve = folder / "config.json", folder / "curve.jsonl"
    step = max((point["step"] for point in results.read_curve(folder)), default=None)
    # A trial's folder always has its config, so there is at least one time.
    last_change = max(path.stat().st_mtime for path in (config, curve) if path.exists())
    with reading(config):
        cell = str(read_object(config)["cell"])
    # The clock of the node that wrote the file may be ahead of this machine's.
    return UnfinishedTrial(folder.name, cell, step, max(0.0, time.time() - last_change), doing)


def _cells(state: RunState) -> list[str]:
    """Untrained models first, which have no budget; in the folder of ``paretune try`` no cell has one."""
    begun = [*(record.cell for record in state.records), *(trial.cell for trial in state.unfinished)]
    return list(dict.fromkeys([*(cell for cell in begun if cell not in state.budgets), *state.budgets]))


def _cell_summary(cell: str, state: RunState) -> dict[str, Any]:
    records = [record for record in state.records if record.cell == cell]
    best_record = best(records)
    peaks = [record.peak_train_bytes for record in records if record.peak_train_bytes]
    return {
        "trials": state.trials_of(cell),
        **dict(sorted(Counter(record.status for record in records).items())),
        "best": best_record.trial_id if best_record else None,
        "quality": best_record.quality if best_record else None,
        "quality_name": best_record.quality_name if best_record else None,
        "peak_train_bytes": max(peaks, default=None),
    }


def table(state: RunState) -> Table:
    """One row per cell: its trials, the best, the largest peak memory, what is in training and what is unfinished."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    trials = state.training if state.holder else state.unfinished
    last = "in training" if state.holder else "unfinished"
    for heading in ("cell", "trials", "best", "peak memory", *([last] if trials else [])):
        table.add_column(heading, justify="right" if heading in ("trials", "peak memory") else "left")
    for cell in _cells(state):
        summary = _cell_summary(cell, state)
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
    other = Counter(_ended(record) for record in records if record.status != "done")
    count = f"{len(records)}/{state.trials_of(cell)}" if state.budgets else str(len(records))
    return ", ".join([count, *(f"{number} {words}" for words, number in sorted(other.items()))])


def _ended(record: Record) -> str:
    unscored = record.status == "stopped" and record.quality is None
    return f"{status_words(record.status)}{' and not scored' if unscored else ''}"


def _progress(trial: UnfinishedTrial, state: RunState) -> str:
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
            *state.damaged,
        ]
    )


def remaining_text(state: RunState) -> str:
    """``3 of 12 trials to go``."""
    return (
        f"{state.remaining} of {counted(state.total, 'trial')} to go"
        if state.remaining
        else "nothing left to do"
    )
