"""The searcher and the scheduler that one Tuner runs a whole sweep with: a study and an ASHA for every cell.

Both know trials by the id of their config. What is true is in the run folder (records, journals, curves); Ray
Tune's own state is not needed to go on.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.admission import Admission
from sweeps.board import find_board
from sweeps.mirror import Mirror
from sweeps.packing import Size
from sweeps.pipeline import NothingToStartFrom, Pipeline, Waiting
from sweeps.plan import Cell, Plan
from sweeps.sizes import Sizes
from sweeps.study import CellStudy
from trainables import files, provenance, results
from trainables.config import TrialConfig
from trainables.results import Record, Status
from trainables.trained import newest, step_of

PASSES = 8  # how many trials may be started past one that has no room yet, before all others wait for it
LEAD = 2  # by how many trials a cell may be ahead, so that a slot of its size serves on


class CellSearch(Searcher):
    """Proposes trials: first those left unfinished, then the base models, then the cells in turn.

    A cell's share never depends on how well it does: the next trial is the one of the cell with the fewest. A cell that
    goes on from another begins when that one has ended, while cells that wait for nothing run on. ``sizes`` says what
    each trial takes and what isn't started at all, ``admission`` what has room now; without them everything has.
    """

    def __init__(self, plan: Plan, run: Path) -> None:
        super().__init__(metric="objective", mode="max")
        self.run = run
        self.pipeline = Pipeline(run)
        self.studies = {cell.name: CellStudy(run, cell) for cell in plan.cells}
        self.leaving = False  # once set, nothing new is proposed
        self.sizes: Sizes | None = None
        self.admission: Admission | None = None
        self.mirror: Mirror | None = None  # of a run that is at a URL
        self.idle: Callable[[], None] = lambda: None  # called when nothing can be proposed just now
        self._trials: dict[str, str] = {}  # Tune's trial id -> ours
        self._configs: dict[str, TrialConfig] = {}
        self._lost: set[str] = set()  # whose results could not be written once
        self._waiting: list[TrialConfig] = []  # to be run before anything new is proposed
        self._smallest: dict[str, Size] = {}  # by cell
        self._passed: Counter[str] = (
            Counter()
        )  # by trial or cell that has no room yet: how often others went first
        # Those whose start is known may run; the others are held back until it is.
        self._held = {name: study for name, study in self.studies.items() if study.cell.needs}
        self._held_bases = list(plan.bases)
        for study in self.studies.values():
            if study.cell.name not in self._held:
                self._take_up(study)
        self._release()

    def _take_up(self, study: CellStudy) -> None:
        """Tells a study what the records say and a driver that died could not; what is unfinished will be run."""
        for config in study.unfinished():
            folder = self._folder(config.trial_id())
            record = results.read_record(folder)
            if record is not None and record.status != "interrupted":
                for step, objective in _objectives(folder):
                    study.report(record.trial_id, step, objective)
                _tell(study, record)
        self._waiting += study.unfinished()
        # What the study was told of and nobody knows any more: a record that was damaged.
        self._waiting += study.told_but_not(lambda trial_id: is_finished(self.run, trial_id))

    def _release(self) -> bool:
        """Lets run what no longer waits for another cell; whether there was any such."""
        found = False
        # A cell that has nothing to go on from ends at once, and others may wait for it.
        while self._waits() and self._released():
            found = True
        return found

    def _waits(self) -> bool:
        """Whether anything is held back. Looking whether it may go reads every study: not where nothing is."""
        return bool(self._held or self._held_bases)

    def _released(self) -> bool:
        self.pipeline.ended |= {study.cell.name for study in self._free() if study.ended()}
        cells = [name for name in list(self._held) if self._let_go(name)]
        bases = [base for base in list(self._held_bases) if self._let_go_base(base)]
        return bool(cells or bases)

    def _let_go(self, name: str) -> bool:
        """Lets a cell run, or has it fail, once what it goes on from is known; whether it is."""
        study = self._held[name]
        try:
            study.cell = replace(study.cell, tree=self.pipeline.filled(study.cell.tree))
        except Waiting:
            return False
        except NothingToStartFrom as error:
            self._fail(study.cell.first(), str(error))
            study.cell = replace(study.cell, trials=0)
        else:
            self._take_up(study)
        del self._held[name]
        return True

    def _let_go_base(self, base: TrialConfig) -> bool:
        try:
            config = TrialConfig.model_validate(self.pipeline.filled(base.model_dump(mode="json")))
        except Waiting:
            return False
        except NothingToStartFrom as error:
            self._fail(base, str(error))
        else:
            self._waiting += [] if is_finished(self.run, config.trial_id()) else [config]
        self._held_bases.remove(base)
        return True

    def work_left(self) -> bool:
        """Whether there is anything to run."""
        unspent = any(not study.ended() for study in self.studies.values())
        return bool(self._waiting) or self._waits() or unspent

    def _folder(self, trial_id: str) -> Path:
        return self.run / "trials" / trial_id

    def suggest(self, trial_id: str) -> Any:
        found = None if self.leaving else self._next()
        if found is None:
            # `None` has Tune ask again later: what is held back, or has no room, waits for trials that are running.
            self.idle()
            return None if self.waits() and not self.leaving else Searcher.FINISHED
        config, size = found
        ours = config.trial_id()
        self._note(config)
        self._trials[trial_id], self._configs[ours] = ours, config
        if self.mirror is not None and not self.mirror.begin(ours):
            return Searcher.FINISHED
        if size is None or self.admission is None:
            return {"trial_id": ours, "cell": config.cell}
        self.admission.begin(ours, size)
        return {"trial_id": ours, "cell": config.cell, "size": asdict(size)}

    def waits(self) -> bool:
        """Whether something is to be run that can't be proposed just now."""
        return self._waits() or bool(self._waiting) or any(study.more() for study in self._free())

    def waiting_for(self) -> list[tuple[str, Size]]:
        """What has no room just now, first in line first: a trial's id or a cell, and what it takes."""
        trials = [(config.trial_id(), self._size(config)) for config in self._waiting]
        cells = [(study.cell.name, self._least(study.cell)) for study in self._in_turn() if study.more()]
        return [(name, size) for name, size in (*trials, *cells) if size is not None]

    def _next(self) -> tuple[TrialConfig, Size | None] | None:
        """The next trial that has room, with what it takes. What waits for room lets a few others pass, then none."""
        if self.admission is not None and self.admission.full:
            return None
        found = self._first_in_line()
        while found is None and self._release():
            found = self._first_in_line()
        return found

    def _first_in_line(self) -> tuple[TrialConfig, Size | None] | None:
        passed: list[str] = []
        for config in list(self._waiting):
            size = self._size(config)
            if self._has_room(size):
                self._waiting.remove(config)
                return self._going(config, size, passed)
            if self._must_not_pass(config.trial_id(), passed):
                return None
        for study in self._in_turn():
            if not study.more():
                continue
            if not self._has_room(self._least(study.cell)):
                if self._must_not_pass(study.cell.name, passed):
                    return None
                continue
            proposed = self._proposed(study)
            if proposed is None:
                continue
            size = self._size(proposed)
            if self._has_room(size):
                return self._going(proposed, size, passed)
            self._note(proposed)
            self._waiting.append(proposed)
            passed.append(proposed.trial_id())
        return None

    def _must_not_pass(self, name: str, passed: list[str]) -> bool:
        """Notes that ``name`` has no room; whether it has been passed so often that nobody may any more."""
        passed.append(name)
        return self._passed[name] >= PASSES

    def _going(
        self, config: TrialConfig, size: Size | None, passed: list[str]
    ) -> tuple[TrialConfig, Size | None]:
        self._passed.update(passed)
        for name in (config.trial_id(), config.cell):
            self._passed.pop(name, None)
        return config, size

    def _free(self) -> list[CellStudy]:
        return [study for name, study in self.studies.items() if name not in self._held]

    def _in_turn(self) -> list[CellStudy]:
        """The cells whose start is known: that with the fewest trials first, or of a few the one with a slot ready."""
        last = self.admission.last if self.admission is not None else None

        def turn(study: CellStudy) -> tuple[int, bool, int]:
            other = last is not None and self._least(study.cell) != last
            return study.count // LEAD, other, study.count

        return sorted(self._free(), key=turn)

    def _size(self, config: TrialConfig) -> Size | None:
        if self.sizes is None:
            return None
        if config.cell in self.studies:
            return self.sizes.of(self.studies[config.cell].cell, config)
        alike = [study.cell for study in self.studies.values() if study.cell.stage == config.stage.kind]
        cells = alike or [study.cell for study in self.studies.values()]
        least = [size for cell in cells if (size := self._least(cell)) is not None]
        return min(least, key=lambda size: (size.workers, size.gpus, size.memory))

    def _least(self, cell: Cell) -> Size | None:
        """What the smallest trial of a cell takes."""
        if self.sizes is None:
            return None
        if cell.name not in self._smallest:
            self._smallest[cell.name] = self.sizes.least(cell)
        return self._smallest[cell.name]

    def _has_room(self, size: Size | None) -> bool:
        return self.admission is None or size is None or self.admission.fits(size)

    def _proposed(self, study: CellStudy) -> TrialConfig | None:
        """A cell's next trial; one that is foretold to take too much memory is a row all the same, and not started."""
        while (config := study.ask()) is not None:
            over = self.sizes.refuses(study.cell, config) if self.sizes is not None else None
            if over is None:
                return config
            facts = {"predicted_peak_bytes": over.needed, "room_bytes": over.bytes}
            _tell(
                study, self._unrun(config, "out_of_memory", str(over), out_of_memory_in="foretold", **facts)
            )
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        ours = self._trials[trial_id]
        study = self.studies.get(self._configs[ours].cell)
        if study is not None and not result.get("done") and result.get("objective") is not None:
            study.report(ours, result["step"], result["objective"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        ours = self._trials[trial_id]
        if self.admission is not None:
            self.admission.end(ours)
        if self.mirror is not None and not self._brought(ours, (result or {}).get("lost")):
            return
        record = results.read_record(self._folder(ours))
        if record is None and error:
            died = "its slot died again and again while running it; sweep.log says how"
            record = self._fail(self._configs[ours], died)
        study = self.studies.get(self._configs[ours].cell)
        if study is not None and record is not None and record.status != "interrupted":
            _tell(study, record)
        self._release()

    def _brought(self, ours: str, lost: str | None) -> bool:
        """Whether what a trial left is here now. One whose results got lost on the way is run once more."""
        assert self.mirror is not None
        if lost is not None and not self.leaving and ours not in self._lost:
            self._lost.add(ours)
            self._waiting.append(self._configs[ours])
            return False
        return self.mirror.end(ours, lost)

    def _fail(self, config: TrialConfig, why: str) -> Record:
        return self._unrun(config, "failed", why)

    def _unrun(self, config: TrialConfig, status: Status, why: str, **facts: Any) -> Record:
        """The record of a trial that could not be run at all, so that it is a row and not a gap."""
        now = provenance.now()
        record = Record(**config.identity(), status=status, error=why, ended_at=now, **facts)
        self._note(config)
        results.write_record(self._folder(config.trial_id()), record)
        return record

    def _note(self, config: TrialConfig) -> None:
        """Has a trial be in the run folder before anything comes of it."""
        files.write_json(self._folder(config.trial_id()) / "config.json", config.model_dump(mode="json"))

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; ours has its state in the run folder

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journals are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore; see ``save``."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the journals are the state."""


def _tell(study: CellStudy, record: Record) -> None:
    over = None
    if record.predicted_peak_bytes and record.room_bytes:
        over = record.predicted_peak_bytes / record.room_bytes - 1
    study.tell(record.trial_id, record.status, record.objective, over)


def is_finished(run: Path, trial_id: str) -> bool:
    """Whether a trial has ended for good: done, stopped, out of memory or failed."""
    record = results.read_record(run / "trials" / trial_id)
    return record is not None and record.status != "interrupted"


def _objectives(folder: Path) -> list[tuple[int, float]]:
    """A trial's validation results so far, by step."""
    return [(p["step"], p["value"]) for p in results.read_curve(folder) if p["name"] == "objective"]


def _saved_step(folder: Path) -> int:
    """The step of a trial's newest complete checkpoint; 0 without one."""
    checkpoint = newest(folder)
    return step_of(checkpoint) if checkpoint is not None else 0


class CellAsha(FIFOScheduler):
    """An asynchronous successive halving (Li et al., 2018, arXiv:1810.05934; Ray Tune's) for each cell.

    A trial that falls behind its cell's others is told to stop by way of the board, and ends by itself, scored
    where it stands: Tune never takes it down.
    """

    def __init__(self, plan: Plan, run: Path, board: str) -> None:
        super().__init__()
        self.board = board
        self.cells = {cell.name: cell for cell in plan.cells if cell.rungs}
        self.halvings: dict[str, Any] = {name: _halving(cell) for name, cell in self.cells.items()}
        self._replay(run)

    def _replay(self, run: Path) -> None:
        """Fills the rungs with what earlier trials reached, so that a resumed search stops as it would have."""
        for folder in results.trial_folders(run):
            cell = json.loads((folder / "config.json").read_text(encoding="utf-8"))["cell"]
            if cell not in self.halvings:
                continue
            # What an unfinished trial did after its last checkpoint it will do and report again.
            until = math.inf if is_finished(run, folder.name) else _saved_step(folder)
            self._watch(cell, folder.name)
            for step, objective in _objectives(folder):
                if step <= min(until, self.cells[cell].steps - 1):
                    self._compare(cell, folder.name, step, objective)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._watch(trial.config["cell"], trial.config["trial_id"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        cell, step = trial.config["cell"], result["step"]
        if cell in self.halvings and not result.get("done") and step < self.cells[cell].steps:
            verdict = self._compare(cell, trial.config["trial_id"], step, result["objective"])
            if verdict == TrialScheduler.STOP:
                ray.get(find_board(self.board).stop.remote(trial.config["trial_id"]))
        return TrialScheduler.CONTINUE

    def _watch(self, cell: str, trial_id: str) -> None:
        if cell in self.halvings:
            self.halvings[cell].on_trial_add(None, _Named(trial_id))

    def _compare(self, cell: str, trial_id: str, step: int, objective: float) -> str:
        result = {"step": step, "objective": objective}
        return self.halvings[cell].on_trial_result(None, _Named(trial_id), result)


class Ticks(Callback):
    """Calls ``tick`` at every turn of Tune's loop."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick = tick

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.tick()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; this one has nothing to keep


class _Named:
    """What Ray's ASHA knows of a trial: its id."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def _halving(cell: Cell) -> AsyncHyperBandScheduler:
    return AsyncHyperBandScheduler(
        time_attr="step",
        metric="objective",
        mode="max",
        max_t=cell.steps,
        grace_period=cell.rungs[0],
        reduction_factor=cell.search.reduction_factor,
        stop_last_trials=False,
    )
