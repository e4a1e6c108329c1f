"""What a run is doing, read from its folder alone, on any machine that has it and whether or not its driver lives.

``status_text`` words it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.runs import lock, trial_requests
from sweeps.runs.layout import LOCK, SIGNS, read_environment
from sweeps.runs.trial_requests import OpenRequests
from trainables import results
from trainables.results import Record, best, expected_trials
from trainables.storage.damaged_files import DamagedFile, read_object, reading

OUTSIDE = ("base", "added")  # roles of trials that no budget counts


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
    sentence for each trial that has a file which can't be read. ``requests``: what was asked of trials by hand, and is
    still to be done.
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
    requests: OpenRequests = field(default_factory=OpenRequests)

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
        ended = sum(record.role not in OUTSIDE for record in self.records)
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
        return "stopped" if self.remaining or self.unfinished or self.requests.additions else "finished"

    def to_json(self) -> dict[str, Any]:
        """What ``paretune status --json`` prints."""
        return {
            "run": self.run,
            "state": self.activity,
            "holder": self.holder,
            "cells": [{"cell": cell, **cell_summary(cell, self)} for cell in all_cells(self)],
            "training": [vars(trial) for trial in self.training],
            "unfinished": [vars(trial) for trial in self.unfinished],
            "waits": list(self.waits),
            "first_comparison": self.first_comparison,
            "damaged": list(self.damaged),
            "stopped_by_hand": [record.trial_id for record in self.records if record.stopped_by_hand],
            "added_by_hand": [record.trial_id for record in self.records if record.role == "added"],
            "to_stop": list(self.requests.stops),
            "to_add": [addition.to_json() for addition in self.requests.additions],
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
    signs = read_signs(run) if process else Signs()
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
    requests = trial_requests.open_requests(run)
    return RunState(
        display_name,
        process,
        budgets,
        tuple(ended),
        tuple(unfinished),
        finalists,
        (*damaged, *requests.damaged),
        signs.waits,
        (environment or {}).get("first_comparison"),
        requests,
    )


@dataclass(frozen=True)
class Signs:
    """What the driver that holds a run says: what each trial is doing, and what others wait for."""

    trials: dict[str, str] = field(default_factory=dict)
    waits: tuple[str, ...] = ()


def read_signs(run: Path) -> Signs:
    """What the driver that holds a run says; empty where the driver has said nothing yet, or the file is damaged."""
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


def all_cells(state: RunState) -> list[str]:
    """Untrained models first, which have no budget; in the folder of ``paretune try`` no cell has one."""
    begun = [*(record.cell for record in state.records), *(trial.cell for trial in state.unfinished)]
    return list(dict.fromkeys([*(cell for cell in begun if cell not in state.budgets), *state.budgets]))


def cell_summary(cell: str, state: RunState) -> dict[str, Any]:
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
