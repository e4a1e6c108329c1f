"""One trial of one cell in this process, with no Ray; before it one of each cell that it goes on from."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sweeps.cells import Cell
from sweeps.plan import Plan
from sweeps.starts import filled
from trainables import results
from trainables.measuring import MeasuringProcess
from trainables.results import Record
from trainables.run import Place, run_trial


def one(plan: Plan, name: str, run: Path, say: Callable[[str], None]) -> Record:
    """Runs the suggested trial of the cell ``name`` and gives its record, or that of a trial before it which fails.

    What it goes on from is run first, unless an earlier call has done so in the same folder.
    """
    trials: dict[str, str] = {}
    with closing(MeasuringProcess()) as measuring:
        for cell in _line(plan, name):
            config = replace(cell, tree=filled(cell.tree, run, trials.__getitem__)).suggested()
            place = Place(run, given_at=time.time())
            trials[cell.name] = config.trial_id()
            known = results.read_record(place.folder(config))
            if cell.name != name and known is not None and known.status == "done":
                continue
            say(f"{cell.name} {config.trial_id()} in {place.folder(config)}")
            record = run_trial(config, place, evaluate_at=frozenset(cell.rungs), measuring=measuring)
            if cell.name == name or record.status != "done":
                break
    return record


def _line(plan: Plan, name: str) -> list[Cell]:
    """The cell, last, and all it goes on from, each after what it goes on from itself."""
    cell = plan.cell(name)
    before = [each for needed in cell.needs for each in _line(plan, needed)]
    return [*{each.name: each for each in before}.values(), cell]
