"""What a run is doing, read from its folder alone, on any machine that has it and whether or not its driver lives."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.runs import lock
from sweeps.runs.layout import LOG, read_environment
from trainables import results
from trainables.results import Record, best
from trainables.storage.damaged_files import DamagedFile, read_object, reading
from trainables.system.byte_sizes import gib

if TYPE_CHECKING:
    from rich.table import Table

LAST_STEPS = 12  # of a trial's curve that `logs` prints


class NoRun(ValueError):  # noqa: N818
    """A folder is no run, or a run doesn't have the trial; the message says what there is."""


@dataclass(frozen=True)
class UnfinishedTrial:
    """A trial without a final record: its last step, and the seconds since it last wrote something."""

    trial_id: str
    cell: str
    step: int | None
    quiet_seconds: float


@dataclass(frozen=True)
class RunState:
    """The state of a run, as ``paretune status`` prints it.

    ``holder`` names the process that runs it; ``None`` while none does. ``budgets``: search trials by cell.
    ``finalists``: how many times each of how many best configs of a cell are trained again, ``{"seeds": 3, "top": 1}``;
    empty for runs that have none. ``damaged``: a sentence for each trial that has a file which can't be read.
    """

    run: str
    holder: str | None
    budgets: dict[str, int]
    records: tuple[Record, ...]
    training: tuple[UnfinishedTrial, ...]
    finalists: dict[str, int] = field(default_factory=dict)
    damaged: tuple[str, ...] = ()

    @property
    def remaining(self) -> int:
        """How many trials of the search, and finalists, have no final record yet."""
        # Base models are not counted.
        ended = sum(record.role != "base" for record in self.records)
        return max(0, self.total - ended)

    @property
    def total(self) -> int:
        """All trials of the search, and the finalists of its cells, as far as these are known."""
        return sum(map(self.trials_of, self.budgets))

    def trials_of(self, cell: str) -> int:
        """The trials of a cell's search and its finalists; 1 for a base model, which has no budget."""
        if cell not in self.budgets:
            return 1
        budget, seeds = self.budgets[cell], self.finalists.get("seeds", 1)
        ended = [record for record in self.records if record.cell == cell and record.role == "search"]
        # Without held-out rows there is no objective, and nothing is trained again.
        done = sum(record.status == "done" and record.objective is not None for record in ended)
        # A cell without a finished trial has none to train again; one that still searches may find some.
        again = min(self.finalists.get("top", 1), budget if len(ended) < budget else done)
        return budget + (seeds * again if seeds > 1 else 0)

    @property
    def activity(self) -> str:
        """``running``, ``finished``, or ``stopped`` with trials left to run."""
        if self.holder:
            return "running"
        return "stopped" if self.remaining or self.training else "finished"

    def to_json(self) -> dict[str, Any]:
        """What ``paretune status --json`` prints."""
        return {
            "run": self.run,
            "state": self.activity,
            "holder": self.holder,
            "cells": [{"cell": cell, **_cell_summary(cell, self)} for cell in _cells(self)],
            "training": [vars(trial) for trial in self.training],
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
    if environment is None:
        raise NoRun(f"{display_name}: no environment.json here; is it a run folder (runs/NAME)?")
    begun = environment.get("plan", {})
    budgets, finalists = begun.get("trials", {}), begun.get("finalists", {})
    ended, training, damaged = list[Record](), list[UnfinishedTrial](), list[str]()
    for trial in results.trial_folders(run):
        try:
            record = results.read_record(trial)
            # An interrupted trial has a record but no result. It counts as unfinished, because it will be resumed.
            if record is not None and record.status != "interrupted":
                ended.append(record)
            else:
                training.append(_unfinished(trial))
        except DamagedFile as error:
            damaged.append(str(error))
    process = holder() if holder else lock.holder(run)
    return RunState(display_name, process, budgets, tuple(ended), tuple(training), finalists, tuple(damaged))


def _unfinished(folder: Path) -> UnfinishedTrial:
    config, curve = folder / "config.json", folder / "curve.jsonl"
    step = max((point["step"] for point in results.read_curve(folder)), default=None)
    # A trial's folder always has its config, so there is at least one time.
    last_change = max(path.stat().st_mtime for path in (config, curve) if path.exists())
    with reading(config):
        cell = str(read_object(config)["cell"])
    # The clock of the node that wrote the file may be ahead of this machine's.
    return UnfinishedTrial(folder.name, cell, step, max(0.0, time.time() - last_change))


def _cells(state: RunState) -> list[str]:
    return list(
        dict.fromkeys([*(record.cell for record in state.records if record.role == "base"), *state.budgets])
    )


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
    """One row per cell: its trials, the best of them, the largest peak memory, and what is in training."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("cell", "trials", "best", "peak memory", "in training"):
        table.add_column(heading, justify="right" if heading in ("trials", "peak memory") else "left")
    for cell in _cells(state):
        summary = _cell_summary(cell, state)
        ended = sum(record.cell == cell for record in state.records)
        quality = (
            f"{summary['quality_name']} {summary['quality']:.3f} " if summary["quality"] is not None else ""
        )
        best = f"{quality}({summary['best']})" if summary["best"] else "–"
        peak = gib(summary["peak_train_bytes"]) if summary["peak_train_bytes"] else "–"
        training = ", ".join(_progress(trial) for trial in state.training if trial.cell == cell)
        table.add_row(cell, f"{ended}/{summary['trials']}", best, peak, training)
    return table


def _progress(trial: UnfinishedTrial) -> str:
    progress = "starting" if trial.step is None else f"step {trial.step}"
    return f"{trial.trial_id} {progress}, {trial.quiet_seconds:.0f} s ago"


def summary(state: RunState) -> str:
    """``running: process 812 on node-1, since ...; 3 of 12 trials to go``, and a line for each damaged trial."""
    process = f": {state.holder}" if state.holder else ""
    return "\n".join([f"{state.activity}{process}; {remaining_text(state)}", *state.damaged])


def remaining_text(state: RunState) -> str:
    """``3 of 12 trials to go``."""
    return f"{state.remaining} of {state.total} trials to go" if state.remaining else "nothing left to do"


def log_lines(run: Path, trial_id: str | None, display_name: str | None = None) -> Iterator[str]:
    """The lines of a run's log, or the last steps and the error of one trial. Raises :class:`NoRun`."""
    display_name = display_name or str(run)
    if trial_id is None:
        yield from _run_log(run, display_name)
    else:
        yield from _trial_log(_trial_folder(run, trial_id, display_name))


def _run_log(run: Path, display_name: str) -> Iterator[str]:
    """The sweep's log, then the other lines that a detached driver printed, with its exit code last."""
    logs = [path for path in (run / "sweep.log", run / LOG) if path.exists()]
    if not logs:
        raise NoRun(f"{display_name}: no sweep.log here; is it a run folder (runs/NAME), and was it started?")
    yielded: set[str] = set()  # a detached driver prints the sweep's events too
    for path in logs:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        yield from (line for line in lines if line not in yielded)
        yielded.update(lines)


def _trial_folder(run: Path, trial_id: str, display_name: str) -> Path:
    matching = [folder for folder in results.trial_folders(run) if folder.name.startswith(trial_id)]
    if len(matching) == 1:
        return matching[0]
    what = "names several trials" if matching else "is no trial of this run"
    ids = ", ".join(folder.name for folder in (matching or results.trial_folders(run))[:12])
    raise NoRun(f"{display_name}: {trial_id!r} {what}; there are {ids or 'none yet'}")


def _trial_log(folder: Path) -> Iterator[str]:
    record = results.read_record(folder)
    config = read_object(folder / "config.json")
    yield f"{config.get('cell')} {folder.name}: {record.status if record else 'no record yet'}"
    points = sorted(results.read_curve(folder), key=lambda point: (point["step"], point["name"]))
    steps = sorted({point["step"] for point in points})[-LAST_STEPS:]
    for step in steps:
        values = ", ".join(f"{p['name']} {p['value']:.4g}" for p in points if p["step"] == step)
        yield f"step {step}: {values}"
    if record is not None and record.error:
        yield record.error
    error = folder / "error.txt"
    if error.exists():
        yield from error.read_text(encoding="utf-8", errors="replace").splitlines()
