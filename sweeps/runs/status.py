"""What a run is doing, read from its folder alone: from any machine that has it, whether or not its driver lives."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.runs import lock
from sweeps.runs.layout import LOG
from trainables import results
from trainables.results import Record, best
from trainables.system.byte_sizes import gib

if TYPE_CHECKING:
    from rich.table import Table

POINTS = 12  # the last of a trial's curve that `logs` shows


class NoRun(ValueError):  # noqa: N818
    """A folder that is no run, or a trial that the run doesn't have; says what is there."""


@dataclass(frozen=True)
class Training:
    """A trial without a final record: its last step, and the seconds since it was heard of."""

    trial_id: str
    cell: str
    step: int | None
    quiet_seconds: float


@dataclass(frozen=True)
class RunState:
    """``holder`` says which process runs it; ``None`` while none does. ``budgets``: search trials by cell."""

    run: str
    holder: str | None
    budgets: dict[str, int]
    records: tuple[Record, ...]
    training: tuple[Training, ...]

    @property
    def left(self) -> int:
        """Search trials that have no final record yet."""
        ended = sum(record.role == "search" for record in self.records)
        return max(0, sum(self.budgets.values()) - ended)

    @property
    def word(self) -> str:
        """``running``, ``finished``, or ``stopped`` with something left to do."""
        if self.holder:
            return "running"
        return "stopped" if self.left or self.training else "finished"

    def to_json(self) -> dict[str, Any]:
        """What ``paretune status --json`` prints."""
        return {
            "run": self.run,
            "state": self.word,
            "holder": self.holder,
            "cells": [{"cell": cell, **_told(cell, self)} for cell in _cells(self)],
            "training": [vars(trial) for trial in self.training],
        }


def run_state(
    run: Path, shown: str | None = None, holder: Callable[[], str | None] | None = None
) -> RunState:
    """The state of the run in a folder. ``shown`` and ``holder``: what it is called and who says who runs it, if
    not by the folder. Raises :class:`NoRun`.
    """
    made, shown = run / "environment.json", shown or str(run)
    if not made.exists():
        raise NoRun(f"{shown}: no environment.json here; is it a run folder (runs/NAME)?")
    environment = json.loads(made.read_text(encoding="utf-8"))
    budgets = environment.get("plan", {}).get("trials", {})
    found = [(trial, results.read_record(trial)) for trial in results.trial_folders(run)]
    ended = tuple(record for _, record in found if record is not None and record.status != "interrupted")
    done = {record.trial_id for record in ended}
    training = tuple(_training(trial) for trial, _ in found if trial.name not in done)
    return RunState(shown, holder() if holder else lock.holder(run), budgets, ended, training)


def _training(folder: Path) -> Training:
    config, curve = folder / "config.json", folder / "curve.jsonl"
    step = max((point["step"] for point in results.read_curve(folder)), default=None)
    heard = max(path.stat().st_mtime for path in (config, curve) if path.exists())
    cell = json.loads(config.read_text(encoding="utf-8"))["cell"]
    return Training(folder.name, cell, step, max(0.0, time.time() - heard))


def _cells(state: RunState) -> list[str]:
    return list(
        dict.fromkeys([*(record.cell for record in state.records if record.role == "base"), *state.budgets])
    )


def _told(cell: str, state: RunState) -> dict[str, Any]:
    mine = [record for record in state.records if record.cell == cell]
    found = best(mine)
    peaks = [record.peak_train_bytes for record in mine if record.peak_train_bytes]
    return {
        "trials": state.budgets.get(cell, 1),
        **dict(sorted(Counter(record.status for record in mine).items())),
        "best": found.trial_id if found else None,
        "quality": found.quality if found else None,
        "quality_name": found.quality_name if found else None,
        "peak_train_bytes": max(peaks, default=None),
    }


def table(state: RunState) -> Table:
    """One row a cell, and what is in training below."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False)
    for heading in ("cell", "trials", "best", "peak memory", "in training"):
        made.add_column(heading, justify="right" if heading in ("trials", "peak memory") else "left")
    for cell in _cells(state):
        told = _told(cell, state)
        ended = sum(record.cell == cell for record in state.records)
        quality = f"{told['quality_name']} {told['quality']:.3f} ({told['best']})" if told["best"] else "–"
        peak = gib(told["peak_train_bytes"]) if told["peak_train_bytes"] else "–"
        now = ", ".join(_now(trial) for trial in state.training if trial.cell == cell)
        made.add_row(cell, f"{ended}/{told['trials']}", quality, peak, now)
    return made


def _now(trial: Training) -> str:
    where = "starting" if trial.step is None else f"step {trial.step}"
    return f"{trial.trial_id} {where}, {trial.quiet_seconds:.0f} s ago"


def summary(state: RunState) -> str:
    """``running: process 812 on node-1, since ...; 3 of 12 trials to go``."""
    by = f": {state.holder}" if state.holder else ""
    return f"{state.word}{by}; {to_go(state)}"


def to_go(state: RunState) -> str:
    """``3 of 12 trials to go``."""
    return (
        f"{state.left} of {sum(state.budgets.values())} trials to go" if state.left else "nothing left to do"
    )


def log(run: Path, trial_id: str | None, shown: str | None = None) -> Iterator[str]:
    """The lines of a run's log, or what is known of one trial. Raises :class:`NoRun`."""
    shown = shown or str(run)
    yield from _of_run(run, shown) if trial_id is None else _of_trial(_folder(run, trial_id, shown))


def _of_run(run: Path, shown: str) -> Iterator[str]:
    """What the sweep logged; then what else a driver of its own had to say, and how it ended."""
    logs = [path for path in (run / "sweep.log", run / LOG) if path.exists()]
    if not logs:
        raise NoRun(f"{shown}: no sweep.log here; is it a run folder (runs/NAME), and was it started?")
    said: set[str] = set()  # a driver prints its events, too
    for path in logs:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        yield from (line for line in lines if line not in said)
        said.update(lines)


def _folder(run: Path, trial_id: str, shown: str) -> Path:
    found = [folder for folder in results.trial_folders(run) if folder.name.startswith(trial_id)]
    if len(found) == 1:
        return found[0]
    what = "names several trials" if found else "is no trial of this run"
    known = ", ".join(folder.name for folder in (found or results.trial_folders(run))[:12])
    raise NoRun(f"{shown}: {trial_id!r} {what}; there are {known or 'none yet'}")


def _of_trial(folder: Path) -> Iterator[str]:
    record = results.read_record(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    yield f"{config['cell']} {folder.name}: {record.status if record else 'no record yet'}"
    points = sorted(results.read_curve(folder), key=lambda point: (point["step"], point["name"]))
    steps = sorted({point["step"] for point in points})[-POINTS:]
    for step in steps:
        values = ", ".join(f"{p['name']} {p['value']:.4g}" for p in points if p["step"] == step)
        yield f"step {step}: {values}"
    if record is not None and record.error:
        yield record.error
    error = folder / "error.txt"
    if error.exists():
        yield from error.read_text(encoding="utf-8", errors="replace").splitlines()
