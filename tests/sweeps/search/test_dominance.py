"""Trials that are stopped because a finished one of their cell was better and needs no more memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.planning.memory.cell_memory import CellMemory
from sweeps.planning.plan import Cell
from sweeps.search.dominance import dominated
from tests.helpers.specs import plan
from trainables.results import Record, write_record
from trainables.storage import files
from trainables.system.byte_sizes import GIB

DEPTH = ("search.order=depth", "search.prune_dominated=true", "search.rungs_by=validation")


class ByRank(CellMemory):
    """A GiB for each of a trial's ranks."""

    def __init__(self) -> None:
        pass

    def for_config(self, config: Any) -> Any:
        class Peak:
            peak_bytes = config.method.rank * GIB

        return Peak


@pytest.fixture
def cell(workdir: Path) -> Cell:
    return replace(plan(workdir, sets=DEPTH).cell("sft-lora"), predicted=ByRank())


def begun(run: Path, cell: Cell, rate: float, rank: int) -> str:
    config = cell.config({"train.learning_rate": rate, "method.rank": rank})
    files.write_json(run / "trials" / config.trial_id() / "config.json", config.model_dump(mode="json"))
    return config.trial_id()


def finished(run: Path, of: Cell, rate: float, rank: int, at_rung: float, **changes: Any) -> str:
    trial_id = begun(run, of, rate, rank)
    config = of.config({"train.learning_rate": rate, "method.rank": rank})
    folder = run / "trials" / trial_id
    point = {"step": of.rungs[0], "name": "objective", "value": at_rung}
    (folder / "curve.jsonl").write_text(json.dumps(point) + "\n")
    write_record(folder, Record(**{**config.identity(), "status": "done", "objective": -0.1, **changes}))
    return trial_id


def test_a_finished_trial_that_was_better_there_and_no_larger_dominates(run: Path, cell: Cell) -> None:
    best = finished(run, cell, 1e-3, 4, at_rung=-0.5)
    trial = begun(run, cell, 2e-3, 8)
    assert dominated(run, cell, trial, cell.rungs[0], -0.6) == (
        f"trial {best} is finished, was better at that step (-0.5 against -0.6) and is predicted to need no more "
        "memory (4.00 GiB against 8.00 GiB)"
    )
    assert dominated(run, cell, begun(run, cell, 3e-3, 4), cell.rungs[0], -0.6) is not None


@pytest.mark.parametrize(
    ("rank", "objective", "changes"),
    [(8, -0.6, {}), (4, -0.4, {}), (4, -0.5, {}), (4, -0.6, {"status": "stopped"})],
    ids=["the finished one is larger", "it was worse", "it was as good", "it is not finished"],
)
def test_otherwise_a_trial_goes_on(
    run: Path, cell: Cell, rank: int, objective: float, changes: dict[str, Any]
) -> None:
    finished(run, cell, 1e-3, rank, at_rung=-0.5, **changes)
    assert dominated(run, cell, begun(run, cell, 2e-3, 4), cell.rungs[0], objective) is None


def test_finished_trials_of_other_cells_and_finalists_dominate_nothing(run: Path, cell: Cell) -> None:
    finished(run, cell, 1e-3, 4, at_rung=-0.5, role="finalist")
    finished(run, cell, 2e-3, 4, at_rung=-0.5, cell="sft-full")
    assert dominated(run, cell, begun(run, cell, 3e-3, 4), cell.rungs[0], -0.6) is None


def test_where_memory_cannot_be_predicted_nothing_is_dominated(run: Path, cell: Cell) -> None:
    finished(run, cell, 1e-3, 4, at_rung=-0.5)
    unknown = replace(cell, predicted=None)
    assert dominated(run, unknown, begun(run, cell, 2e-3, 8), cell.rungs[0], -0.6) is None
