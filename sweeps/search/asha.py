"""The scheduler of a whole sweep: which trials stop or pause at a rung, in every cell that compares trials."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ray
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from sweeps.cluster.actors import find_board
from sweeps.planning.plan import Cell, Plan
from sweeps.search.dominance import dominated
from trainables import results
from trainables.storage.damaged_files import read_object, reading
from trainables.training.checkpoints import last_checkpoint, step_of


class CellAsha(FIFOScheduler):
    """Ray Tune's asynchronous successive halving (Li et al., 2018, arXiv:1810.05934), one for each cell in depth. In
    breadth every trial pauses at a rung (``promotion``).

    A trial that falls behind the others of its cell is marked as stopped on the board. Its workers read that, and score
    the trial at the step it has reached: Tune never terminates it.
    """

    def __init__(self, plan: Plan, run: Path, board: str) -> None:
        super().__init__()
        self.run, self.board = run, board
        self.cells = {cell.name: cell for cell in plan.cells if cell.rungs}
        in_depth = {name: cell for name, cell in self.cells.items() if not cell.search.breadth_first}
        self.halvings: dict[str, Any] = {name: _make_halving(cell) for name, cell in in_depth.items()}
        self._replay(run)

    def _replay(self, run: Path) -> None:
        """Fills the rungs with the results of earlier trials: a resumed search decides as an uninterrupted one."""
        for folder in results.trial_folders(run):
            config = read_object(folder / "config.json")
            with reading(folder / "config.json"):
                cell = config["cell"]
            if cell not in self.halvings or config.get("role", "search") != "search":
                continue
            # An unfinished trial will repeat, and report again, the steps after its last checkpoint.
            record = results.read_record(folder)
            ended = record is not None and record.status != "interrupted"
            saved, done_early = (0, False) if ended else _saved_step(folder)
            until = math.inf if ended else saved
            # The last step is no comparison, here as in `on_trial_result`; nor is that of a trial which was done early,
            # of which the checkpoint tells while it is not scored yet.
            last = self.cells[cell].steps
            if record is not None and record.ended_early:
                last = record.steps or 0
            elif done_early:
                last = saved
            # Ray's scheduler looks trials up by id, and must hear of one before its first result.
            self._add_trial(cell, folder.name)
            for step, objective in results.rung_values(folder, self.cells[cell].comparisons).items():
                if step <= min(until, last - 1):
                    self._compare(cell, folder.name, step, objective)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if trial.config["role"] == "search":
            self._add_trial(trial.config["cell"], trial.config["trial_id"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        cell, step = trial.config["cell"], result["step"]
        searched = cell in self.cells and trial.config["role"] == "search"
        if not searched or result.get("done") or step >= self.cells[cell].steps:
            return TrialScheduler.CONTINUE
        if cell not in self.halvings:
            ray.get(find_board(self.board).pause.remote(trial.config["trial_id"]))
        else:
            self._stop_if_behind(cell, trial.config["trial_id"], step, result["objective"])
        return TrialScheduler.CONTINUE

    def _stop_if_behind(self, cell: str, trial_id: str, step: int, objective: float) -> None:
        """Has a trial stop that is behind the others of its cell, or dominated by a finished one."""
        behind = self._compare(cell, trial_id, step, objective) == TrialScheduler.STOP
        prunes = self.cells[cell].search.prune_dominated and not behind
        reason = dominated(self.run, self.cells[cell], trial_id, step, objective) if prunes else None
        if behind or reason is not None:
            ray.get(find_board(self.board).stop.remote(trial_id, reason))

    def _add_trial(self, cell: str, trial_id: str) -> None:
        if cell in self.halvings:
            self.halvings[cell].on_trial_add(None, _TrialStub(trial_id))

    def _compare(self, cell: str, trial_id: str, step: int, objective: float) -> str:
        result = {"step": step, "objective": objective}
        return self.halvings[cell].on_trial_result(None, _TrialStub(trial_id), result)


class _TrialStub:
    """All that Ray's ASHA reads of a trial: its id."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def _make_halving(cell: Cell) -> AsyncHyperBandScheduler:
    return AsyncHyperBandScheduler(
        time_attr="step",
        metric="objective",
        mode="max",
        max_t=cell.steps,
        grace_period=cell.rungs[0],
        reduction_factor=cell.search.reduction_factor,
        stop_last_trials=False,
    )


def _saved_step(folder: Path) -> tuple[int, bool]:
    """The step of a trial's newest complete checkpoint, 0 without one, and whether the trial was done early there."""
    saved = last_checkpoint(folder)
    return (step_of(saved[0]), saved[1].finished) if saved is not None else (0, False)
